"""Names in a message: a few of many, and not the whole of a long one."""

from collections.abc import Sequence

__all__ = ["named", "shortened"]

NAMED_AT_MOST = 3
LONGEST = 200  # characters


def named(names: Sequence[str], separator: str = ", ") -> str:
    """The first few names, and three dots for the others."""
    more = [] if len(names) <= NAMED_AT_MOST else ["..."]
    return separator.join([*map(shortened, names[:NAMED_AT_MOST]), *more])


def shortened(text: str) -> str:
    """The text, or its beginning and three dots."""
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
