"""`audit verify`: exit code 0 with an anchor to keep, 1 with the first broken entry."""

import psycopg

from tests.cli.support import cronsvc


def test_verify_prints_an_anchor_and_names_what_is_broken(database_url: str) -> None:
    empty = cronsvc("audit", "verify", DATABASE_URL=database_url)
    assert (empty.returncode, empty.stdout) == (0, "0 places and the log are intact\n"), empty.stderr
    with psycopg.connect(database_url) as conn:
        for n in range(3):
            conn.execute(
                "INSERT INTO audit_log (actor, action, entity, entity_id) VALUES ('x', 'y', 'z', %s)", (str(n),)
            )
        conn.execute("SELECT cronsvc_seal_audit(2)")
    good = cronsvc("audit", "verify", DATABASE_URL=database_url)
    first, second = good.stdout.splitlines()
    assert (good.returncode, first) == (0, "2 places and the log are intact; 1 entries wait to be sealed")
    assert second.startswith("anchor 2:")
    again = cronsvc("audit", "verify", "--anchor", second.removeprefix("anchor "), DATABASE_URL=database_url)
    assert again.returncode == 0
    other = cronsvc("audit", "verify", "--anchor", "2:" + "0" * 64, DATABASE_URL=database_url)
    assert (other.returncode, other.stdout) == (1, "")
    assert "broken at place 2: rewritten" in other.stderr
    with psycopg.connect(database_url) as conn:
        conn.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
        conn.execute("UPDATE audit_log SET actor = 'somebody' WHERE entity_id = '1'")
    broken = cronsvc("audit", "verify", DATABASE_URL=database_url)
    assert broken.returncode == 1
    assert "broken at place 2, entry 2: changed" in broken.stderr
