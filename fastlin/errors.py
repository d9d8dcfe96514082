"""The one error a user's input can cause, and the warning about rows that may not fit."""


class InputError(ValueError):
    """Something given to fastlin cannot be used; the message says what, and what would be right.

    The message is one line. The command line prints it and exits with code 2.
    """


class MatchWarning(UserWarning):
    """Rows may not be what a classifier was trained on; the message, one line, says how."""
