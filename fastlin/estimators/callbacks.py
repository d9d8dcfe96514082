"""scikit-learn's callbacks: what watches a fit. They came with version 1.9, as an experiment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

try:
    from sklearn import callback
except ImportError:  # before scikit-learn 1.9 estimators have no `set_callbacks`
    callback = None


class _NoSupport:
    """In the place of scikit-learn's mixin, without any method."""


Support: Any = _NoSupport if callback is None else callback.CallbackSupportMixin
Method = TypeVar("Method", bound=Callable[..., Any])


def with_callbacks(method: Method) -> Method:
    """Return a `fit` that ends its callbacks, too, when it is refused or interrupted."""
    if callback is None:
        return method
    managed: Method = callback.with_callbacks(method)
    return managed


class FitTasks:
    """The steps of a fit, one after another, at whose begin and end callbacks are called.

    Parameters
    ----------
    estimator : Any
        With callbacks.
    name : str
        Of a step.
    most : int or None
        How many steps there can be; None where that is not known.
    **data : Any
        What callbacks can ask for: X, y and metadata.
    """

    def __init__(self, estimator: Any, name: str, most: int | None, **data: Any) -> None:
        self._name, self._most = name, most
        self._given = {"estimator": estimator, **data}
        self._fit = estimator._init_callback_context(max_subtasks=most)
        self._fit.call_on_fit_task_begin(**self._given)
        self._count = 0
        self._step: Any = None
        self._begin()

    def _begin(self) -> None:
        self._step = None
        if self._count != self._most:
            self._step = self._fit.subcontext(task_name=self._name)
            self._step.call_on_fit_task_begin(**self._given)
            self._count += 1

    def end_step(self, attributes: Callable[[], dict[str, Any]] | None = None) -> bool:
        """End a step and begin the next one; return whether a callback wants the fit to end.

        Parameters
        ----------
        attributes : Callable, optional
            Returns what makes the estimator a fitted one, as if this step were the last.
        """
        is_enough = self._step.call_on_fit_task_end(
            **self._given, reconstruction_attributes=attributes
        )
        self._begin()
        return bool(is_enough)

    def end(self) -> None:
        """End the fit, with a step that began and was not needed; the estimator is fitted."""
        if self._step is not None:
            self._step.call_on_fit_task_end(**self._given)
        self._fit.call_on_fit_task_end(**self._given, reconstruction_attributes={})


def tasks_of(estimator: Any, name: str, most: int | None, **data: Any) -> FitTasks | None:
    """Return the tasks of a fit that begins; None if the estimator has no callbacks."""
    if not hasattr(estimator, "_skl_callbacks"):
        return None
    return FitTasks(estimator, name, most, **data)
