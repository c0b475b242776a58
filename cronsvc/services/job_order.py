"""The orders in which jobs can be listed, and the cursors of each: one of another order is refused."""

from enum import StrEnum

from cronsvc.domain.job import Job
from cronsvc.services.paging import (
    id_cursor,
    read_id_cursor,
    read_text_cursor,
    read_time_cursor,
    text_cursor,
    time_cursor,
)
from cronsvc.store.job_pages import Place


class JobSort(StrEnum):
    """A closed set; the minus turns it round. Jobs of the same name or instant stand in order of id."""

    NEWEST = "-id"
    OLDEST = "id"
    NAME = "name"
    NAME_BACKWARDS = "-name"
    UPDATED = "updatedAt"
    UPDATED_LAST = "-updatedAt"

    @property
    def column(self) -> str:
        return self.value.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.value.startswith("-")

    @property
    def kind(self) -> str:
        """What cursors of this order call their list."""
        return "jobs" if self is JobSort.NEWEST else f"jobs {self.value}"

    def cursor(self, job: Job) -> str:
        """The cursor that continues behind a job."""
        match self.column:
            case "name":
                return text_cursor(self.kind, job.definition.name, job.id)
            case "updatedAt":
                return time_cursor(self.kind, job.updated_at, job.id)
            case _:
                return id_cursor(self.kind, job.id)

    def place(self, cursor: str | None) -> Place | None:
        """Where a page continues; None for the first. InvalidInput: it is no cursor of this order."""
        match self.column:
            case "name":
                named = read_text_cursor(self.kind, cursor)
                return None if named is None else Place(named[1], named[0])
            case "updatedAt":
                timed = read_time_cursor(self.kind, cursor)
                return None if timed is None else Place(timed[1], timed[0])
            case _:
                last = read_id_cursor(self.kind, cursor)
                return None if last is None else Place(last)
