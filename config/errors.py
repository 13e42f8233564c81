"""Errors whose messages are meant for people; command lines print them without a traceback."""


class UserError(ValueError):
    """Bad input, a missing file or an impossible request.

    The message is one sentence that names the file, line or key and the way out. Command lines
    print it without a traceback; any other exception is a bug and keeps its traceback.
    """


class ConfigError(UserError):
    """A setting cannot be used; the message names the key, its value and what is allowed."""


class NoSpaceError(UserError, OSError):
    """A disk is too full for a file; the message names the file and the sizes."""
