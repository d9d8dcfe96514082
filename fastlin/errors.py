"""The errors that a user can mend."""


class InputError(ValueError):
    """Something given to fastlin cannot be used; the message says what, and what would be right.

    The message is one line. The command line prints it and exits with code 2.
    """


class PackageError(InputError, ImportError):
    """A package that fastlin needs is missing, broken, or does not fit another one."""
