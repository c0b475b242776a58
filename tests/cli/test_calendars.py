"""`calendars import` on real servers."""

from datetime import UTC, datetime
from pathlib import Path

import psycopg

from tests.cli.support import cronsvc
from tests.support.servers import Embedded

DAY = f"{datetime.now(UTC).year + 1}1225"
FILE = f"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART;VALUE=DATE:{DAY}\r\nSUMMARY:Rest\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"


def test_a_file_becomes_a_calendar_and_a_bad_one_a_sentence(
    tmp_path: Path, database_url: str, valkey_server: Embedded
) -> None:
    servers = {"DATABASE_URL": database_url, "REDIS_URL": valkey_server.url}
    (tmp_path / "rest.ics").write_text(FILE)
    done = cronsvc("calendars", "import", "rest", str(tmp_path / "rest.ics"), "--namespace", "team-a", **servers)
    assert (done.returncode, done.stdout.strip()) == (0, "calendar 1 rest: 1 dates closed"), done.stderr
    with psycopg.connect(database_url) as conn:
        assert conn.execute("SELECT namespace, name, date::text, label FROM calendars c JOIN calendar_dates d"
                            " ON d.calendar_id = c.id").fetchall() == [
            ("team-a", "rest", f"{DAY[:4]}-12-25", "Rest")
        ]  # fmt: skip
    (tmp_path / "bad.ics").write_text("nothing")
    bad = cronsvc("calendars", "import", "rest", str(tmp_path / "bad.ics"), **servers)
    assert (bad.returncode, bad.stdout) == (1, "") and "bad.ics: is no iCalendar file" in bad.stderr
