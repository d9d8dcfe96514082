"""What the command line asks of its process: streams that never raise, and signals that wait.

Nothing here is done to a program that only imports fastlin, and all but a stop is undone when a
command is over.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import errno
import functools
import io
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TextIO

STOPS = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, a batch system, a terminal that is closed
_DEAF_SECONDS = 3.0
_PATIENCE_SECONDS = 0.8  # for the main thread to heed a signal
_COMPILER = ("numba/core/compiler.py", "numba/core/dispatcher.py", "fastlin/kernels/cache.py")


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end.

    For Ctrl-C, too: where KeyboardInterrupt itself passes through `exec`, Python ends the process
    by SIGINT in the end, whatever the exit code.

    Attributes
    ----------
    number : int
        The number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code of a command that was stopped, as shells have it: 128 + the signal.

    Whoever asks has caught the stop, and ends the command.
    """
    heed()
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


def heed() -> None:
    """Tell that a stop was caught, so that it is not raised again."""
    _stops.is_heeded = True


class _Stops:
    """Receives the signals that end a command.

    The first raises `Stopped` in the main thread. What follows within seconds is the same impatient
    person, and must not undo what the first one set going. While results are written every signal
    waits. While kernels are compiled the process ends: nothing is lost by that, and an exception in
    the middle of the compiler can become any other, or none.
    """

    def __init__(self) -> None:
        self.writers = 0
        self.numbers: set[int] = set()  # of the signals that are handled
        self.received = 0
        self.is_heeded = True  # no stop is on its way that nobody has caught
        self.raised_at: float | None = None
        self._waiting: int | None = None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.received += 1
        now = time.monotonic()
        if self.writers:
            self._waiting = number
        elif _is_compiling(frame):
            _end_now(number)
        elif self.raised_at is None or now - self.raised_at > _DEAF_SECONDS:
            self._stop(number)

    def go_on(self) -> None:
        """Stop now if a signal came while results were written."""
        if self._waiting is not None and not self.writers:
            self._stop(self._waiting)

    def _stop(self, number: int) -> NoReturn:
        self.raised_at, self._waiting = time.monotonic(), None
        self.is_heeded = False
        raise Stopped(number)


_stops = _Stops()


class _Watch:
    """Sees to it that a signal is heeded while kernels are compiled.

    Python calls the handler of a signal between two of its own instructions, and those of the
    compiler can be seconds apart; and what the handler raises is lost in the cleaning up of an
    object. So a thread learns of each signal by a pipe. If the main thread has not caught the stop
    after a moment, the process ends if it is compiling. Else it is told again.
    """

    def __init__(self, stops: _Stops) -> None:
        self._stops = stops
        self._lock = threading.Lock()
        self._is_ended = False
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="fastlin-signals", daemon=True).start()

    def end(self) -> None:
        """Leave signals alone again, and let the thread end."""
        with self._lock:  # from here on the thread sends nothing
            self._is_ended = True
        signal.set_wakeup_fd(self._before)
        self._writer.close()

    def _watch(self) -> None:
        sent = 0
        with self._reader:
            while number := self._reader.recv(1):
                if number[0] in self._stops.numbers:
                    sent += 1
                    self._see_to(signal.Signals(number[0]), sent)

    def _see_to(self, number: signal.Signals, sent: int) -> None:
        """Return when all signals sent are received, and the stop that they raised is caught."""
        time.sleep(_PATIENCE_SECONDS)
        while self._stops.received < sent or not self._stops.is_heeded:
            with self._lock:
                if self._is_ended:
                    return
                if self._stops.writers == 0 and _is_compiling(_frame_of_main_thread()):
                    _end_now(number)
                if self._stops.received >= sent:
                    self._stops.raised_at = None  # what was raised is lost: raise it again
                    _thread.interrupt_main(number)
            time.sleep(_PATIENCE_SECONDS / 4)


def _frame_of_main_thread() -> FrameType | None:
    return sys._current_frames().get(threading.main_thread().ident or 0)


def _is_compiling(frame: FrameType | None) -> bool:
    """Whether a frame is below Numba's compiler, or the loading of what it compiled before."""
    while frame is not None:
        if frame.f_code.co_filename.replace("\\", "/").endswith(_COMPILER):
            return True
        frame = frame.f_back
    return False


def _end_now(number: int) -> NoReturn:
    """End the process, with the cursor that a progress bar may have hidden."""
    show_cursor = b"\x1b[?25h" if os.isatty(2) else b""
    with contextlib.suppress(OSError):
        os.write(2, show_cursor + b"Interrupted\n")
    os._exit(128 + number)


@contextmanager
def writing_results() -> Iterator[None]:
    """Let the body come to its end, whatever signal comes; stop after it if one came."""
    _stops.writers += 1
    try:
        yield
    finally:
        _stops.writers -= 1
    _stops.go_on()


@contextmanager
def orderly_signals() -> Iterator[None]:
    """Let signals that end a process stop the body by an exception, so that it can save its work.

    Signals that the process was told to ignore (nohup, a job in the background) stay ignored.
    """
    global _stops  # noqa: PLW0603  (as handlers are: there is one set for the process)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    outer, _stops = _stops, _Stops()
    watch = _Watch(_stops)
    hook = sys.unraisablehook
    sys.unraisablehook = functools.partial(_pass_over_stops, hook)
    handlers = {}
    for number in (getattr(signal, name) for name in STOPS if hasattr(signal, name)):
        if signal.getsignal(number) in _TAKEN_OVER:
            handlers[number] = signal.signal(number, _stops.receive)
            _stops.numbers.add(number)
    try:
        yield
    finally:
        watch.end()
        sys.unraisablehook = hook
        for number, handler in handlers.items():
            signal.signal(number, handler if _stops.raised_at is None else _exit_at_once)
        if handlers and _stops.raised_at is not None:
            atexit.register(_ignore, tuple(handlers))
        _stops = outer


def _exit_at_once(number: int, _: FrameType | None) -> NoReturn:
    """Handle a signal after the stop of a command: its exit code is that of the stop."""
    os._exit(128 + number)


# Handlers that a command replaces by its own: Python's, and that of a command that was stopped.
_TAKEN_OVER = {signal.SIG_DFL, signal.default_int_handler, _exit_at_once}


def _ignore(numbers: tuple[int, ...]) -> None:
    """Ignore signals while Python ends, when its handlers are gone and each would kill it."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def _pass_over_stops(
    others: Callable[[sys.UnraisableHookArgs], None], lost: sys.UnraisableHookArgs
) -> None:
    """Hand on exceptions that nobody can catch, but for a stop: `_Watch` sees to those."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        others(lost)


class Stream(io.TextIOBase):
    """A standard stream that writes what it can: it never raises, and keeps the first failure.

    Letters that the encoding of the stream lacks are replaced. After a failure (the reader has
    gone, the device is full, the stream was closed from the start) nothing more is written.

    Attributes
    ----------
    failure : OSError | ValueError | None
        Why something could not be written.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.failure: OSError | ValueError | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream itself."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What is done with letters that the encoding lacks."""
        return "replace"

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def fileno(self) -> int:
        """Return the file descriptor of the stream. Raises `OSError` if there is none."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write a text as far as possible, and return its length."""
        if not isinstance(text, str):  # asked by click, which looks for a stream of bytes
            raise TypeError(f"text must be str, not {type(text).__name__}")
        if text and self.failure is None:
            try:
                self._write(text)
            except (OSError, ValueError) as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        if self._stream is not None and self.failure is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    def _write(self, text: str) -> None:
        if self._stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))

    def _give_up(self, error: OSError | ValueError) -> None:
        self.failure = error
        # What the stream still holds would fail again when Python ends, with a traceback.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)


@contextmanager
def safe_streams() -> Iterator[tuple[Stream, Stream]]:
    """Put a `Stream` in the place of standard output and standard error; yields both."""
    _occupy_closed_descriptors()
    before = sys.stdout, sys.stderr
    out, err = Stream(sys.stdout), Stream(sys.stderr)
    sys.stdout, sys.stderr = out, err
    try:
        yield out, err
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def _occupy_closed_descriptors() -> None:
    """Open the null device where a standard stream is closed.

    The next file to be opened would get its number, and what C code writes to standard error.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def code_of_output(out: Stream, err: Stream) -> int:
    """Return 1 if standard output could not be written, and say why unless its reader has gone."""
    out.flush()
    if out.failure is None:
        return 0
    if getattr(out.failure, "errno", None) != errno.EPIPE:
        reason = getattr(out.failure, "strerror", None) or out.failure
        err.write(f"Error: cannot write to standard output: {reason}\n")
    return 1
