"""The one error a user's input can cause."""


class InputError(ValueError):
    """Something given to fastlin cannot be used; the message says what, and what would be right.

    The message is one line. The command line prints it and exits with code 2.
    """
