"""Errors that a user can cause and mend. The entry points print them and exit with code 2."""


class InputError(ValueError):
    """Flags, files or images that the program cannot work with.

    The message says what the problem is, what was received, what was expected and what to do.
    """


class DegenerateDataError(InputError):
    """The images, or the features made of them, hold nothing that could be clustered."""


class CannotWriteError(InputError):
    """The disk is full, or does not let a file be written."""
