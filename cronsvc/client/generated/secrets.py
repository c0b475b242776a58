"""Operations on secrets.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from typing import Literal

from cronsvc.client.calls import Call, Paged, call, nothing
from cronsvc.client.generated import answers


def list_secrets(
    *,
    namespace: str | None = None,
    sort: Literal["name", "-name"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Secret, answers.SecretList]:
    """List secrets by name. Needs the role operator."""
    first = call(
        "listSecrets",
        "GET",
        "/api/v1/secrets",
        answers.SecretList.model_validate_json,
        query={
            "namespace": namespace,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def put_secret(
    name: str,
    *,
    value: str,
    namespace: str | None = None,
) -> Call[answers.Secret]:
    """Set a secret. Needs the role admin."""
    return call(
        "putSecret",
        "PUT",
        "/api/v1/secrets/{name}",
        answers.Secret.model_validate_json,
        names={
            "name": name,
        },
        query={
            "namespace": namespace,
        },
        body={
            "value": value,
        },
    )


def delete_secret(
    name: str,
    *,
    namespace: str | None = None,
) -> Call[None]:
    """Delete a secret. Needs the role admin."""
    return call(
        "deleteSecret",
        "DELETE",
        "/api/v1/secrets/{name}",
        nothing,
        statuses=(204,),
        names={
            "name": name,
        },
        query={
            "namespace": namespace,
        },
    )
