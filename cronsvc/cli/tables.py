"""How commands print rows: aligned columns, for people and for awk."""

from collections.abc import Sequence
from datetime import UTC, datetime


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print the rows below their titles; an absent value is a dash, an instant is RFC 3339 in UTC."""
    cells = [list(titles), *([text(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def text(value: object) -> str:
    """One cell."""
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        instant = value.astimezone(UTC)
        return instant.isoformat(timespec="seconds" if instant.microsecond == 0 else "milliseconds").replace(
            "+00:00", "Z"
        )
    return str(value)
