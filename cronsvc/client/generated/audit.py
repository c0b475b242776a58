"""Operations on audit.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from datetime import datetime
from typing import Any, Literal

from cronsvc.client.calls import Call, Paged, call, text
from cronsvc.client.generated import answers


def list_audit(
    *,
    actor: str | None = None,
    action: str | None = None,
    entity: str | None = None,
    entity_id: str | None = None,
    request_id: str | None = None,
    namespace: str | None = None,
    from_: datetime | None = None,
    to: datetime | None = None,
    sort: Literal["-at", "at"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.AuditEntry, answers.AuditList]:
    """List who changed what. Needs the role admin."""
    first = call(
        "listAudit",
        "GET",
        "/api/v1/audit",
        answers.AuditList.model_validate_json,
        query={
            "actor": actor,
            "action": action,
            "entity": entity,
            "entityId": entity_id,
            "requestId": request_id,
            "namespace": namespace,
            "from": from_,
            "to": to,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def list_audit_fields(
    *,
    fields: str,
    actor: str | None = None,
    action: str | None = None,
    entity: str | None = None,
    entity_id: str | None = None,
    request_id: str | None = None,
    namespace: str | None = None,
    from_: datetime | None = None,
    to: datetime | None = None,
    sort: Literal["-at", "at"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[dict[str, Any], answers.SparseList]:
    """List who changed what. Each item has the members that `fields` names, and its id. Needs the role admin."""
    first = call(
        "listAudit",
        "GET",
        "/api/v1/audit",
        answers.SparseList.model_validate_json,
        query={
            "actor": actor,
            "action": action,
            "entity": entity,
            "entityId": entity_id,
            "requestId": request_id,
            "namespace": namespace,
            "from": from_,
            "to": to,
            "sort": sort,
            "fields": fields,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def export_audit(
    *,
    actor: str | None = None,
    action: str | None = None,
    entity: str | None = None,
    entity_id: str | None = None,
    request_id: str | None = None,
    namespace: str | None = None,
    from_: datetime | None = None,
    to: datetime | None = None,
    format_: Literal["ndjson", "csv"] | None = None,
    after_id: int | None = None,
    limit: int | None = None,
) -> Call[str]:
    """Export the audit log as NDJSON or CSV, in the order of its chain. Needs the role admin."""
    return call(
        "exportAudit",
        "GET",
        "/api/v1/audit/export",
        text,
        query={
            "actor": actor,
            "action": action,
            "entity": entity,
            "entityId": entity_id,
            "requestId": request_id,
            "namespace": namespace,
            "from": from_,
            "to": to,
            "format": format_,
            "afterId": after_id,
            "limit": limit,
        },
    )


def verify_audit(
    *,
    cursor: str | None = None,
    anchor: str | None = None,
) -> Call[answers.AuditVerdict]:
    """Check the audit log against its chain of hashes. Needs the role admin."""
    return call(
        "verifyAudit",
        "GET",
        "/api/v1/audit/verify",
        answers.AuditVerdict.model_validate_json,
        query={
            "cursor": cursor,
            "anchor": anchor,
        },
    )
