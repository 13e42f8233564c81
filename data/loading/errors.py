"""The error of everything in this package that reads files of a data set."""

from config.errors import UserError


class DataError(UserError):
    """A file of a data set cannot be used; the message names it and the way out."""
