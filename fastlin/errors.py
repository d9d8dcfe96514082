"""The one error a user's input can cause, and how a message shows what was given."""


class InputError(ValueError):
    """Something given to fastlin cannot be used; the message says what, and what would be right.

    The message is one line. The command line prints it and exits with code 2.
    """


def quoted(value: object, length: int = 60) -> str:
    """Return a value as Python writes it, on one line and shortened, for a message.

    Parameters
    ----------
    value : object
        A text, a number, or anything else that was given.
    length : int
        The result has at most so many characters; what is left out shows as ``...``.
    """
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # an integer of too many digits, lists nested too deep
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= length else f"{text[: length - 4]}...{text[-1]}"
