"""Operations on keys.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from cronsvc.client.calls import UNSET, Call, Paged, Unset, call
from cronsvc.client.generated import answers, words


def list_keys(
    *,
    name: str | None = None,
    is_live: bool | None = None,
    sort: Literal["-id", "id"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Key, answers.KeyList]:
    """List API keys. Needs the role admin."""
    first = call(
        "listKeys",
        "GET",
        "/api/v1/keys",
        answers.KeyList.model_validate_json,
        query={
            "name": name,
            "isLive": is_live,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def create_key(
    *,
    name: str,
    role: words.Role | Unset | None = UNSET,
    namespaces: Sequence[str] | Unset | None = UNSET,
    roles: Mapping[str, words.Role] | Unset | None = UNSET,
    expires_at: datetime | Unset | None = UNSET,
) -> Call[answers.KeyCreated]:
    """Create an API key, shown this once. Needs the role admin."""
    return call(
        "createKey",
        "POST",
        "/api/v1/keys",
        answers.KeyCreated.model_validate_json,
        statuses=(201,),
        body={
            "name": name,
            "role": role,
            "namespaces": namespaces,
            "roles": roles,
            "expiresAt": expires_at,
        },
    )


def revoke_key(
    key_id: str,
) -> Call[answers.Key]:
    """Revoke an API key. Needs the role admin."""
    return call(
        "revokeKey",
        "DELETE",
        "/api/v1/keys/{keyId}",
        answers.Key.model_validate_json,
        names={
            "keyId": key_id,
        },
    )


def list_sessions(
    *,
    actor: str | None = None,
    sort: Literal["-id", "id"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Session, answers.SessionList]:
    """Who is signed in. Needs the role admin."""
    first = call(
        "listSessions",
        "GET",
        "/api/v1/sessions",
        answers.SessionList.model_validate_json,
        query={
            "actor": actor,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def end_sessions(
    *,
    actor: str | None = None,
) -> Call[answers.SessionsEnded]:
    """End sessions: all, or those of one actor. Needs the role admin."""
    return call(
        "endSessions",
        "DELETE",
        "/api/v1/sessions",
        answers.SessionsEnded.model_validate_json,
        query={
            "actor": actor,
        },
    )
