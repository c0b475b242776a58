"""/api/v1/audit: who changed what, as pages, as a file, and whether it is still what was written."""

import csv
import io
import json
from collections.abc import AsyncIterator, Sequence

from starlette.responses import Response, StreamingResponse

from cronsvc.services.callers import Role
from cronsvc.store.audit_chain import Head
from cronsvc.store.audit_entries import Entry, Wanted
from cronsvc.web.answers import answer
from cronsvc.web.audit_models import (
    AuditBreak,
    AuditEntry,
    AuditExportQuery,
    AuditFilter,
    AuditHead,
    AuditList,
    AuditQuery,
    AuditSort,
    AuditVerdict,
    AuditVerifyQuery,
)
from cronsvc.web.fields import SparseList, listed
from cronsvc.web.routing import Call, Route

V1 = "/api/v1"
NDJSON = "application/x-ndjson"
CSV = "text/csv"


async def list_audit(call: Call) -> Response:
    """Entries, newest first."""
    query: AuditQuery = call.query
    page = await call.services.auditing.list(
        call.caller,
        _wanted(query),
        namespace=query.namespace,
        oldest_first=query.sort is AuditSort.OLDEST,
        cursor=query.cursor,
        limit=query.limit,
    )
    items = [_entry(each) for each in page.items]
    return listed(AuditList(items=items, next_cursor=page.next_cursor), items, AuditEntry, query.fields)


async def export_audit(call: Call) -> Response:
    """Sealed entries by place, as they come from the database; what fails after the first breaks the connection."""
    query: AuditExportQuery = call.query
    batches = await call.services.auditing.export(
        call.caller, _wanted(query), namespace=query.namespace, after_id=query.after_id, limit=query.limit
    )
    is_csv = query.format == "csv"
    return StreamingResponse(
        _csv(batches) if is_csv else _ndjson(batches),
        media_type=CSV if is_csv else NDJSON,
        headers={"Content-Disposition": f'attachment; filename="audit.{query.format}"'},
    )


async def verify_audit(call: Call) -> Response:
    """Whether the log is what was sealed; the first entry that is not."""
    query: AuditVerifyQuery = call.query
    verdict = await call.services.auditing.verify(call.caller, cursor=query.cursor, anchor=query.anchor)
    broken = verdict.broken
    return answer(
        AuditVerdict(
            intact=verdict.intact,
            checked=verdict.checked,
            broken=None
            if broken is None
            else AuditBreak.model_validate(
                {"place": broken.place, "entry_id": broken.entry_id, "reason": broken.reason}
            ),
            next_cursor=verdict.next_cursor,
            head=_head(verdict.head),
            unused_ids=verdict.unused_ids,
        )
    )


async def _ndjson(batches: AsyncIterator[Sequence[Entry]]) -> AsyncIterator[str]:
    async for batch in batches:
        yield "".join(_entry(each).model_dump_json(by_alias=True) + "\n" for each in batch)


async def _csv(batches: AsyncIterator[Sequence[Entry]]) -> AsyncIterator[str]:
    columns = [field.alias or name for name, field in AuditEntry.model_fields.items()]
    yield _rows([columns])
    async for batch in batches:
        documents = [_entry(each).model_dump(by_alias=True, mode="json") for each in batch]
        yield _rows([[_cell(document[column]) for column in columns] for document in documents])


def _cell(value: object) -> str:
    """Text as it is, unless a spreadsheet would take it for a formula; objects as JSON; null as nothing."""
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _rows(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _wanted(query: AuditFilter) -> Wanted:
    return Wanted(
        actor=query.actor,
        action=query.action,
        entity=query.entity,
        entity_id=query.entity_id,
        request_id=query.request_id,
        since=query.since,
        until=query.until,
    )


def _entry(entry: Entry) -> AuditEntry:
    return AuditEntry(
        id=entry.id,
        at=entry.at,
        actor=entry.actor,
        source=entry.source,
        request_id=entry.request_id,
        action=entry.action,
        entity=entry.entity,
        entity_id=entry.entity_id,
        namespace=entry.namespace,
        before=entry.before,
        after=entry.after,
        place=entry.place,
        hash=entry.hash,
    )


def _head(head: Head) -> AuditHead:
    text = None if head.hash is None else head.hash.hex()
    return AuditHead(
        place=head.place,
        hash=text,
        anchor=None if text is None else f"{head.place}:{text}",
        sealed_at=head.sealed_at,
        waiting=head.waiting,
        waiting_since=head.waiting_since,
    )


AUDIT_ROUTES = (
    Route(
        "GET",
        f"{V1}/audit",
        Role.ADMIN,
        list_audit,
        "listAudit",
        "List who changed what",
        "audit",
        query=AuditQuery,
        answer=AuditList,
        other_answers=((200, SparseList),),
    ),
    Route(
        "GET",
        f"{V1}/audit/export",
        Role.ADMIN,
        export_audit,
        "exportAudit",
        "Export the audit log as NDJSON or CSV, in the order of its chain",
        "audit",
        query=AuditExportQuery,
        gives_files=(NDJSON, CSV),
    ),
    Route(
        "GET",
        f"{V1}/audit/verify",
        Role.ADMIN,
        verify_audit,
        "verifyAudit",
        "Check the audit log against its chain of hashes",
        "audit",
        query=AuditVerifyQuery,
        answer=AuditVerdict,
    ),
)
