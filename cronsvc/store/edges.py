"""Where a page of a list begins that is sorted by one column, and which way the list goes."""

from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql


@dataclass(frozen=True, slots=True)
class Edge:
    """The page begins behind `beyond`, or (None) at the list's own beginning."""

    beyond: int | str | None = None
    ascending: bool = False

    def parts(self, column: LiteralString) -> dict[str, sql.Composable]:
        """The condition `beyond`, whose parameter is `edge`, and the `turn` of the order, for a statement to hold."""
        turn = sql.SQL("ASC" if self.ascending else "DESC")
        if self.beyond is None:
            return {"beyond": sql.SQL("true"), "turn": turn}
        sign = sql.SQL(">" if self.ascending else "<")
        return {"beyond": sql.SQL("{} {} %(edge)s").format(sql.SQL(column), sign), "turn": turn}
