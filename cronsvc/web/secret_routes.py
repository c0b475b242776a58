"""/api/v1/secrets: names for those who define jobs, values from those who administer the namespace, and never back."""

from starlette.responses import Response

from cronsvc.services.callers import Role
from cronsvc.store.secrets import Secret
from cronsvc.web import problems
from cronsvc.web.answers import answer
from cronsvc.web.routing import Call, Route
from cronsvc.web.secret_models import SecretAnswer, SecretIn, SecretList, SecretQuery, SecretsQuery

V1 = "/api/v1"


async def list_secrets(call: Call) -> Response:
    """Secrets in order of namespace and name, without what they hold."""
    query: SecretsQuery = call.query
    page = await call.services.secrets.list(
        call.caller, namespace=query.namespace, sort=query.sort, cursor=query.cursor, limit=query.limit
    )
    return answer(SecretList(items=[_secret(each) for each in page.items], next_cursor=page.next_cursor))


async def put_secret(call: Call) -> Response:
    """Give a secret a value; the next attempt of every job that names it has it."""
    body: SecretIn = call.body
    return answer(_secret(await call.services.secrets.set(_namespace(call), _name(call), body.value, call.caller)))


async def delete_secret(call: Call) -> Response:
    """Take a secret away; jobs that still name it fail with `secret_unknown`."""
    await call.services.secrets.delete(_namespace(call), _name(call), call.caller)
    return Response(status_code=204)


def _name(call: Call) -> str:
    name: str = call.request.path_params["name"]
    return name


def _namespace(call: Call) -> str:
    query: SecretQuery = call.query
    return query.namespace if query.namespace is not None else call.caller.home


def _secret(secret: Secret) -> SecretAnswer:
    return SecretAnswer(
        namespace=secret.namespace,
        name=secret.name,
        version=secret.version,
        created_at=secret.created_at,
        created_by=secret.created_by,
        updated_at=secret.updated_at,
        updated_by=secret.updated_by,
        last_used_at=secret.last_used_at,
    )


SECRET_ROUTES = (
    Route(
        "GET",
        f"{V1}/secrets",
        Role.OPERATOR,
        list_secrets,
        "listSecrets",
        "List secrets by name",
        "secrets",
        query=SecretsQuery,
        answer=SecretList,
    ),
    Route(
        "PUT",
        f"{V1}/secrets/{{name}}",
        Role.ADMIN,
        put_secret,
        "putSecret",
        "Set a secret",
        "secrets",
        query=SecretQuery,
        body=SecretIn,
        answer=SecretAnswer,
        problems=(problems.CONFLICT,),
    ),
    Route(
        "DELETE",
        f"{V1}/secrets/{{name}}",
        Role.ADMIN,
        delete_secret,
        "deleteSecret",
        "Delete a secret",
        "secrets",
        status=204,
        query=SecretQuery,
    ),
)
