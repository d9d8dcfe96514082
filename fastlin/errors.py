"""The errors that a user can mend, and the warning about rows that may not fit."""


class InputError(ValueError):
    """Something given to fastlin cannot be used; the message says what, and what would be right.

    The message is one line. The command line prints it and exits with code 2.
    """


class PackageError(InputError, ImportError):
    """A package that fastlin needs is missing, broken, or does not fit another one."""


class MatchWarning(UserWarning):
    """Rows may not be what a classifier was trained on; the message, one line, says how."""
