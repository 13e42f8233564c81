"""The base class of every error that a person can act on."""


class UserError(ValueError):
    """Bad input, a missing file or an impossible request.

    The message is one sentence that names the file, line or key and the way out. Command lines
    print it without a traceback; any other exception is a bug and keeps its traceback.
    """
