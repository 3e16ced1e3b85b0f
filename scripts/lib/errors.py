"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something that the user can put right.

    The message is one line that names the file or the key and the remedy; the step prints it
    without a traceback and exits with `status`.
    """

    status = 1
