"""drydock.testing on real servers: each test's own database, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drydock.throwaway.server import stop_all
from tests.testing_project import clones, connect_as_told, query, run, run_apart, server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.checkout import Checkout

INSERT = "INSERT INTO organizations (id, slug, name) VALUES (gen_random_uuid(), 'mine', 'Mine')"
COUNT = "SELECT count(*) FROM organizations"
ISOLATED = f"""
    import pytest

    @pytest.mark.parametrize("n", range(8))
    def test_own(postgres, n):
        with postgres.connect("superuser") as connection:
            assert connection.execute("{COUNT}").fetchone() == (0,)
            connection.execute("{INSERT}")
"""
KILLED = """
    import os, signal

    def test_killed(postgres):
        os.kill(os.getpid(), signal.SIGKILL)
"""
GREEN = "def test_green(postgres): postgres.connect().close()"
NAMES = "SELECT datname FROM pg_database ORDER BY 1"


@pytest.fixture(scope="module")
def shop(embedded_engine: str, scratch: Checkout) -> Iterator[Path]:  # noqa: ARG001 - it skips where there is none
    """This bundle with the developer's own environment up, and a throwaway server that stays warm from test to test."""
    before = scratch.query(NAMES)
    yield scratch.root
    stop_all(scratch.root)
    assert scratch.query(NAMES) == before


def test_workers_share_one_server(pytester: pytest.Pytester, shop: Path) -> None:
    """Four xdist workers that start at once get databases of their own on one server, from one template."""
    run_apart(pytester, shop, ISOLATED, "-n", "4").assert_outcomes(passed=8)
    assert clones(shop) == []
    assert query(server(shop), "SELECT count(*) FROM pg_database WHERE datistemplate AND datname LIKE 'app%'") == [(1,)]


def test_each_test_has_a_migrated_database_of_its_own(pytester: pytest.Pytester, shop: Path) -> None:
    """Rows that a test commits are seen by no other, and nothing is left after a green run."""
    run(pytester, shop, ISOLATED).assert_outcomes(passed=8)
    assert clones(shop) == []


def test_the_developers_own_environment_is_another(shop: Path, scratch: Checkout) -> None:
    """The clusters, their ports and their passwords differ; the module's fixture compares the databases."""
    own, theirs = scratch.environment, server(shop)
    for mine, other in (
        (own.state.system_identifier, theirs.state.system_identifier),
        (own.state.postgres_port, theirs.state.postgres_port),
        (own.state.redis_port, theirs.state.redis_port),
        (own.superuser.password, theirs.superuser.password),
    ):
        assert mine != other


def test_a_failed_test_keeps_its_database(pytester: pytest.Pytester, shop: Path) -> None:
    """The report has a URL without a password and a command; the command connects and shows what the test did."""
    code = f"""
        def test_fails(postgres):
            with postgres.connect("superuser") as connection:
                connection.execute("{INSERT}")
            assert False

        def test_passes(postgres):
            postgres.connect().close()
    """
    result = run(pytester, shop, code)
    result.assert_outcomes(passed=1, failed=1)
    assert connect_as_told(result, "SELECT slug FROM organizations") == "mine"
    assert len(clones(shop)) == 1
    assert server(shop).superuser.password not in result.stdout.str()


@pytest.mark.parametrize(("keep", "kept"), [("never", 0), ("all", 2)])
def test_keeping_is_a_choice(pytester: pytest.Pytester, shop: Path, keep: str, kept: int) -> None:
    """--drydock-keep says whose databases stay."""
    before = len(clones(shop))
    code = "def test_fails(postgres): assert False\ndef test_passes(postgres): pass"
    run(pytester, shop, code, "--drydock-keep", keep).assert_outcomes(passed=1, failed=1)
    assert len(clones(shop)) - before == kept


def test_a_failing_teardown_and_an_expected_failure(pytester: pytest.Pytester, shop: Path) -> None:
    """An error after the test keeps the database; a failure that is expected does not."""
    before = len(clones(shop))
    code = """
        import pytest

        @pytest.fixture
        def broken(postgres):
            yield
            raise OSError("late")

        def test_error(broken): pass

        @pytest.mark.xfail
        def test_expected(postgres): assert False
    """
    run(pytester, shop, code).assert_outcomes(passed=1, errors=1, xfailed=1)
    assert len(clones(shop)) - before == 1


def test_a_killed_run_is_cleared_up_by_the_next(pytester: pytest.Pytester, shop: Path) -> None:
    """What a run under SIGKILL leaves behind is gone after the next one; what is kept stays."""
    before = clones(shop)
    run_apart(pytester, shop, KILLED)
    assert len(clones(shop)) > len(before)
    run(pytester, shop, GREEN).assert_outcomes(passed=1)
    assert clones(shop) == before


def test_a_leaked_connection_does_not_keep_a_database(pytester: pytest.Pytester, shop: Path) -> None:
    """A session that a test leaves open, in a transaction even, is ended with its database."""
    before = clones(shop)
    code = """
        held = []

        def test_leaks(postgres):
            held.append(postgres.connect())
            held[0].execute("LOCK TABLE users")

        def test_next(postgres):
            held[0].pgconn.finish()
            held[0].close()
    """
    run(pytester, shop, code).assert_outcomes(passed=2)
    assert clones(shop) == before


def test_a_test_may_end_every_session(pytester: pytest.Pytester, shop: Path) -> None:
    """A test that ends all sessions on the server, those of the plugin too, fails no other test."""
    before = clones(shop)
    code = """
        END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname <> current_database()"

        def test_ends(postgres):
            with postgres.connect("superuser") as connection:
                assert connection.execute(END).rowcount > 1

        def test_next(postgres):
            postgres.connect().close()
    """
    run(pytester, shop, code).assert_outcomes(passed=2)
    run(pytester, shop, GREEN).assert_outcomes(passed=1)
    assert clones(shop) == before


def test_seeds_on_request(pytester: pytest.Pytester, shop: Path) -> None:
    """`seeded_postgres` and the marker give a clone with the project's seeds; the plain one has no rows."""
    code = f"""
        import pytest

        def count(database):
            with database.connect("superuser") as connection:
                return connection.execute("{COUNT}").fetchone()[0]

        def test_seeded(seeded_postgres, postgres):
            assert count(seeded_postgres) > 0
            assert count(postgres) == 0

        @pytest.mark.drydock_seed("small")
        def test_marked(postgres, make_postgres):
            assert count(postgres) > 0
            assert count(make_postgres()) == 0
    """
    run(pytester, shop, code).assert_outcomes(passed=2)


def test_coroutines(pytester: pytest.Pytester, shop: Path) -> None:
    """A coroutine connects without blocking its loop, and has further databases made in threads."""
    code = """
        import asyncio

        async def names(database):
            async with await database.connect_async() as connection:
                cursor = await connection.execute("SELECT current_database(), current_user")
                return await cursor.fetchone()

        def test_async(postgres, make_postgres):
            async def main():
                others = await asyncio.gather(*(asyncio.to_thread(make_postgres) for _ in range(3)))
                found = await asyncio.gather(*map(names, (postgres, *others)))
                assert len({name for name, _ in found}) == 4
                assert {user for _, user in found} == {"app"}
            asyncio.run(main())
    """
    run(pytester, shop, code).assert_outcomes(passed=1)


def test_redis_namespaces_do_not_see_each_other(pytester: pytest.Pytester, shop: Path) -> None:
    """Keys stay in their test, FLUSHDB is harmless, and what would reach other tests is refused."""
    code = """
        import pytest, redis

        @pytest.fixture(params=range(2))
        def client(request, redis_namespace):
            with redis.Redis.from_url(redis_namespace.url, client_name="mine") as client:
                yield client

        def test_alone(client, redis_namespace):
            assert client.keys() == []
            client.set("key", "value")
            for refused in (client.flushall, lambda: client.select(redis_namespace.number + 1), client.config_get):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    refused()
            assert client.get("key") == b"value"
    """
    run(pytester, shop, code).assert_outcomes(passed=2)
