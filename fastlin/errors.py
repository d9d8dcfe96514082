"""The one error a user's input can cause, and how text that others wrote is shown in it."""

from __future__ import annotations

import re
import reprlib

_SHOWN = 60  # characters of a value

_short = reprlib.Repr()
_short.maxstring = _short.maxlong = _short.maxother = _SHOWN


class InputError(ValueError):
    """Something given to fastlin cannot be used; the message says what, and what would be right.

    The message is one line. The command line prints it and exits with code 2.
    """


def quoted(value: object) -> str:
    """Return the repr of a value that came from a file, in one line of at most 60 characters.

    Parameters
    ----------
    value : object
        Plain Python values: text, numbers, None, and lists and dictionaries of them.

    Returns
    -------
    str
        What is too long has dots in its place.
    """
    text = _short.repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def one_line(text: str) -> str:
    r"""Return text as one line that a terminal can show.

    Line breaks and tabs, with the blanks around them, become one blank; any other character that
    cannot be printed is written as its escape sequence, such as ``\x1b``.
    """
    joined = re.sub(r"[ ]*[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029][\s]*", " ", text)
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in joined.strip())
