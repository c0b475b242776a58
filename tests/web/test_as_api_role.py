"""The API as the role cronsvc_api, behind the policies: tests of its routes once more, and nothing breaks."""

from collections.abc import AsyncIterator, Iterator

import pytest

from cronsvc.store.pool import Database
from cronsvc.web.app import Services
from tests.support.roles import logins
from tests.web.conftest import serving
from tests.web.test_backfills_api import *  # noqa: F403
from tests.web.test_calendars_api import *  # noqa: F403
from tests.web.test_jobs_api import *  # noqa: F403
from tests.web.test_runs_api import *  # noqa: F403


@pytest.fixture
def api_url(database_url: str) -> Iterator[str]:
    with logins(database_url) as urls:
        yield urls["cronsvc_api"]


@pytest.fixture
async def services(api_url: str, redis_url: str) -> AsyncIterator[Services]:
    db = await Database.open(api_url, application_name="cronsvc-test", max_size=20)
    try:
        async with serving(db, redis_url) as made:
            yield made
    finally:
        await db.close()
