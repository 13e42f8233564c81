"""The error of everything in this package that reads files of a data set, and lists of them."""

from collections.abc import Iterable

from config.errors import UserError

_LISTED = 20


class DataError(UserError):
    """A file of a data set cannot be used; the message names it and the way out."""


def skipped_text(what: str, reasons: Iterable[str]) -> str:
    """Lists what has been skipped because its files cannot be used, for people.

    Args:
        what: such as "3 images".
        reasons: messages of the errors, which name the files; in any order.

    Returns:
        Lines without a line break at the end.
    """
    listed = sorted(reasons)
    lines = [f"{what} cannot be used and were skipped:", *listed[:_LISTED]]
    if len(listed) > _LISTED:
        lines.append(f"… and {len(listed) - _LISTED:,} more")
    return "\n  ".join(lines)
