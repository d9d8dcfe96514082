"""What a function returns, or the message of the only error that it may raise."""

from fastlin.errors import InputError


def value_or_message(function, *arguments):
    """Return the value and an empty message, or None and the message of an InputError."""
    try:
        return function(*arguments), ""
    except InputError as error:
        return None, str(error)
