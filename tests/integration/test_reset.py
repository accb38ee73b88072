from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from drydock import postgres, template
from drydock.errors import DrydockError
from drydock.template import rename
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checkout import Checkout

COUNT = "SELECT count(*) FROM messages"


@pytest.fixture(scope="module")
def shop(ready: Checkout) -> Iterator[Checkout]:
    """The shared checkout; its data is put back at the end."""
    yield ready
    ready.run("reset")


def test_reset_brings_back_the_seeded_state_and_flushes_redis(shop: Checkout) -> None:
    """Changed and deleted rows are as seeded, stray tables are gone, Redis is empty; the way back is told."""
    shop.query("DELETE FROM messages")
    shop.query("CREATE TABLE stray ()", role="owner")
    shop.redis("SET", "stale", "yes")
    result = shop.run("reset")
    assert "undo: invoke undo" in result.stdout
    assert shop.query(COUNT) == [(1194,)]
    assert shop.query("SELECT to_regclass('stray')") == [(None,)]
    assert shop.redis("DBSIZE") == "0"
    assert shop.json("status")["status"] == "pass"


def test_second_reset_clones_what_the_first_built(shop: Checkout) -> None:
    """The template is built once for the same migrations and seeds, and again with --rebuild."""
    first = shop.json("reset")
    assert shop.json("reset")["built"] is False
    rebuilt = shop.json("reset", "--rebuild")
    assert (rebuilt["built"], rebuilt["template"]) == (True, first["template"])


def test_undo_brings_back_what_reset_replaced(shop: Checkout) -> None:
    """reset.undo swaps the two databases, and once more swaps them back."""
    shop.query("DELETE FROM messages")
    shop.run("reset")
    shop.run("reset.undo")
    assert shop.query(COUNT) == [(0,)]
    shop.run("reset.undo")
    assert shop.query(COUNT) == [(1194,)]


def test_a_swap_that_fails_leaves_the_database_open(shop: Checkout) -> None:
    """Whatever keeps the names from being exchanged, the application can connect again."""
    with (
        postgres.administer(shop.environment) as connection,
        pytest.raises(psycopg.errors.InvalidCatalogName),
    ):
        template.swap(connection, "app", "nowhere")
    assert shop.query("SELECT 1", role="app") == [(1,)]


def test_only_one_earlier_database_is_kept(shop: Checkout) -> None:
    """The server drops what the reset before last had replaced, after the command has ended."""
    shop.run("reset")
    shop.run("reset")
    names = "SELECT datname::text FROM pg_database WHERE datname LIKE 'app%' AND NOT datistemplate ORDER BY 1"
    eventually(lambda: shop.query(names) == [("app",), ("app__previous",)], "one of them left")
    assert "dropped" not in shop.run("up").stdout


def test_a_database_with_a_subscription_is_dropped_like_any_other(shop: Checkout) -> None:
    """Also one that is enabled, and one that an earlier drydock has closed and could not drop."""
    subscribe = (
        "CREATE SUBSCRIPTION news CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION y WITH (connect = false)"
    )
    left = "SELECT count(*) FROM pg_subscription"
    shop.query(subscribe)
    shop.query("ALTER SUBSCRIPTION news ENABLE")
    shop.run("reset")
    assert shop.query(left) == [(1,)]
    shop.run("reset")
    eventually(lambda: shop.query(left) == [(0,)], "the subscription gone with its database")
    shop.query(subscribe)
    shop.run("reset")
    with postgres.administer(shop.environment) as connection:
        eventually(lambda: not postgres.exists(connection, "app__leaving"), "the one before that gone")
        template.close(connection, "app__previous")
        connection.execute("ALTER DATABASE app__previous RENAME TO app__leaving")
    shop.run("reset")
    assert shop.query(left) == [(0,)]
    shop.run("reset.undo")


def test_a_changed_seed_or_migration_makes_another_template(shop: Checkout) -> None:
    """Any change to what made the template means a new one; changing back finds the old one."""
    first = shop.json("reset")
    path = shop.root / "src" / "app" / "seeds" / "words.py"
    text = path.read_text()
    path.write_text(text + "# changed\n")
    changed = shop.json("reset")
    path.write_text(text)
    again = shop.json("reset")
    assert changed["template"] != first["template"]
    assert (changed["built"], again["built"], again["template"]) == (True, False, first["template"])


def test_rights_survive_the_clone(shop: Checkout) -> None:
    """The application role can use the clone and nobody else may connect to it."""
    shop.run("reset")
    grants = (
        "SELECT has_database_privilege('app', 'app', 'CONNECT'), has_database_privilege('public', 'app', 'CONNECT')"
    )
    assert shop.query(grants) == [(True, False)]
    mine = "11111111-1111-4111-8111-111111111111"
    insert = f"INSERT INTO organizations (id, slug, name) VALUES ('{mine}', 'mine', 'Mine')"
    shop.query(f"SELECT set_config('app.tenant_id', '{mine}', true); {insert}", role="app")
    assert shop.query(f"SELECT name FROM organizations WHERE id = '{mine}'") == [("Mine",)]


def test_open_sessions_are_ended_and_can_come_back(shop: Checkout) -> None:
    """A session inside a transaction does not block reset, and reconnects to the new data at once."""
    environment = shop.environment
    with postgres.connect(environment, environment.app, autocommit=False) as session:
        session.execute("LOCK TABLE messages IN SHARE MODE")
        shop.run("reset")
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert shop.query(COUNT) == [(1194,)]


def test_old_templates_are_pruned(shop: Checkout) -> None:
    """Only the most recently used templates stay."""
    path = shop.root / "src" / "app" / "seeds" / "words.py"
    text = path.read_text()
    newest = ""
    for n in range(template.KEPT_TEMPLATES + 1):
        path.write_text(text + f"# {n}\n")
        newest = shop.json("reset")["template"]
    path.write_text(text)
    names = [
        row[0] for row in shop.query("SELECT datname FROM pg_database WHERE datistemplate AND datname LIKE 'app%'")
    ]
    assert len(names) == template.KEPT_TEMPLATES
    assert newest in names


def test_a_failing_seed_leaves_the_database_alone(shop: Checkout) -> None:
    """Where the template cannot be built, the live database stays and no half template is left."""
    path = shop.root / "src" / "app" / "seeds" / "words.py"
    text = path.read_text()
    shop.query("DELETE FROM messages WHERE role = 'user'")
    before = shop.query(COUNT)
    path.write_text(text + "raise RuntimeError('spilt seeds')\n")
    error = shop.run("reset", code=7).stderr
    path.write_text(text)
    assert "spilt seeds" in error
    assert shop.query(COUNT) == before
    shop.run("reset")
    assert shop.query("SELECT datname FROM pg_database WHERE datname LIKE 'app\\_\\_building'") == []


def test_unknown_size_is_refused(shop: Checkout) -> None:
    """A size that does not exist is named with those that do."""
    for task in ("reset", "seed"):
        assert "small, medium, large" in shop.run(task, "--size", "giant", code=2).stderr


def test_who_is_in_the_way_of_arename(scratch: Checkout) -> None:
    """The server's own sentence says it, with one full stop."""
    environment = scratch.environment
    with (
        postgres.connect(environment, environment.superuser, "template1"),
        postgres.administer(environment) as connection,
        pytest.raises(DrydockError, match=r"is still in use: There is 1 other session using the database\.$"),
    ):
        rename(connection, "template1", "template2")
