"""What is attached to the application's database itself, and what becomes of it where another takes its place."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checkout import Checkout

# Settings of each kind: plain, with a unit, of one's own, a list that is one text, lists of names quoted by the server
# and as somebody wrote them.
ATTACHED = r"""
CREATE ROLE "Report it" LOGIN;
ALTER DATABASE app SET timezone = 'Asia/Kathmandu';
ALTER DATABASE app SET app.motto = 'it''s = "a, b" \';
ALTER DATABASE app SET datestyle = 'German, DMY';
ALTER DATABASE app SET search_path = "$user", public, 'Odd, "one"', '';
ALTER DATABASE app SET temp_tablespaces = '';
ALTER ROLE app IN DATABASE app SET statement_timeout = '1h';
ALTER ROLE "Report it" IN DATABASE app SET work_mem = '8MB';
SELECT set_config('search_path', 'public,  Other,"Odd"', false);
ALTER ROLE "Report it" IN DATABASE app SET search_path FROM CURRENT;
COMMENT ON DATABASE app IS 'the shop''s';
ALTER DATABASE app CONNECTION LIMIT 77;
GRANT CONNECT ON DATABASE app TO "Report it";
GRANT TEMPORARY ON DATABASE app TO "Report it" WITH GRANT OPTION
"""


@pytest.fixture(scope="module")
def shop(scratch: Checkout) -> Iterator[Checkout]:
    """A checkout with a backup called `attached` and a dump, made before anything was attached to its database."""
    scratch.run("reset")
    scratch.run("backup", "--label", "attached")
    process = scratch.environment.engine.run("pg_dump", [], stdout=subprocess.PIPE)
    (scratch.root / "by hand.sql").write_bytes(process.communicate()[0])
    scratch.query(ATTACHED)
    yield scratch
    scratch.run("reset")
    scratch.query('DROP OWNED BY "Report it"; DROP ROLE "Report it"')


def told(shop: Checkout) -> list[Any]:
    """All that is attached to the database: each setting as a new session of each role has it, and the rest."""
    rest = (
        "SELECT shobj_description(oid, 'pg_database'), datconnlimit, (SELECT array_agg(concat_ws(' ', grantee::regrole,"
        " privilege_type, is_grantable) ORDER BY 1) FROM aclexplode(datacl)) FROM pg_database WHERE datname = 'app'"
    )
    settings = (
        "SELECT setrole::regrole::text, array_agg(line ORDER BY n) FROM pg_db_role_setting JOIN pg_database d"
        " ON setdatabase = d.oid, unnest(setconfig) WITH ORDINALITY AS u(line, n)"
        " WHERE datname = 'app' AND NOT starts_with(line, 'drydock.') GROUP BY 1 ORDER BY 1"
    )
    return [*shop.query(rest), *shop.query(settings)]


@pytest.mark.parametrize("words", [["attached"], ["attached", "--table", "users"], ["by hand.sql", "--yes"]])
def test_a_restore_keeps_what_is_attached_to_the_database(shop: Checkout, words: list[str]) -> None:
    """Settings of every kind, the comment, the limit and grants stay with the name, and undo finds them as well."""
    before = told(shop)
    assert len(before) == 4
    shop.run("restore", words[0] if words[0] == "attached" else f"./{words[0]}", *words[1:])
    assert _folded(told(shop)) == _folded(before)
    assert shop.query("SHOW statement_timeout", role="app") == [("1h",)]
    assert shop.query("SHOW app.motto", role="app") == [('it\'s = "a, b" \\',)]
    shop.run("undo")
    assert _folded(told(shop)) == _folded(before)


def _folded(rows: list[Any]) -> str:
    """As the server reads it: that list of names was not written by it."""
    return str(rows).replace('public,  Other,"Odd"', 'public, other, "Odd"')


def test_a_reset_begins_anew(shop: Checkout) -> None:
    """The seeded state has nothing attached to it."""
    shop.run("reset")
    assert len(told(shop)) == 1
    shop.run("undo")
    assert len(told(shop)) == 4
