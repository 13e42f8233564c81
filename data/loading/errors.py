"""The error of everything in this package that reads files of a data set, and lists of them."""

from collections.abc import Collection

from config.errors import UserError

_LISTED = 20


class DataError(UserError):
    """A file of a data set cannot be used; the message names it and the way out."""


def skipped_text(what: str, reasons: Collection[str]) -> str:
    """Lists what has been skipped because its files cannot be used, for people.

    Args:
        what: such as "3 images".
        reasons: messages of the errors, which name the files; in any order.

    Returns:
        Lines without a line break at the end.
    """
    lines = [f"{what} cannot be used and were skipped:", *sorted(reasons)[:_LISTED]]
    if len(reasons) > _LISTED:
        lines.append(f"… and {len(reasons) - _LISTED:,} more")
    return "\n  ".join(lines)
