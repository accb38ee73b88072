"""Volumes beside the environment's own, and servers on them, on both engines."""

from __future__ import annotations

import io
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest

from drydock import ports, postgres, readiness
from drydock.engine import POSTGRES, docker_programs
from drydock.errors import EngineError
from drydock.recovery.restores import promotion, rewind
from tests import ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drydock.engine import Beside
    from drydock.engine.docker import DockerEngine
    from drydock.environment import Environment
    from tests.checkout import Checkout


@pytest.fixture(scope="module")
def book(ready: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ledger.Ledger]:
    """A base backup of the shared checkout, and two commits."""
    yield ledger.write(ready.environment, tmp_path_factory.mktemp("beside") / "book", 2)
    ready.query("DROP TABLE ledger")


@pytest.fixture
def beside(ready: Checkout) -> Iterator[Beside]:
    """The engine's other volumes, of which none is left after a test."""
    found = ready.environment.engine.beside
    yield found
    found.remove(found.volume("branch-test"))


@contextmanager
def piped(content: bytes, folder: Path) -> Iterator[BinaryIO]:
    """What another program writes into a pipe."""
    (folder / "content").write_bytes(content)
    with subprocess.Popen(["cat", str(folder / "content")], stdout=subprocess.PIPE) as cat:
        yield cast("BinaryIO", cat.stdout)


def promoted(beside: Beside, book: ledger.Ledger, environment: Environment) -> str:
    """A volume with a cluster that has left recovery and was stopped cleanly."""
    volume = beside.volume("branch-test")
    paused = rewind.rewind(beside, volume, book.recipe(1, inclusive=True), lambda _line: None)
    assert promotion.promote(beside, paused, environment.superuser).timeline > 1
    assert beside.end(volume)
    return volume


def test_a_volume_is_made_filled_and_removed(ready: Checkout, beside: Beside) -> None:
    """It is among the checkout's volumes, for destroy as well, until it is removed; removing it again is nothing."""
    volume = beside.volume("branch-test")
    beside.create(volume)
    with ledger.archive({"PG_VERSION": b"16\n"}) as stream:
        beside.write(volume, stream)
    assert volume in beside.volumes()
    assert volume in [found.name for found in ready.environment.engine.volumes() if found.service == POSTGRES]
    beside.remove(volume)
    beside.remove(volume)
    assert volume not in beside.volumes()


def test_an_archive_that_is_cut_off_is_an_error(beside: Beside) -> None:
    """Half a tar archive does not pass for a whole one."""
    volume = beside.volume("branch-test")
    beside.create(volume)
    with ledger.archive({"base": b"x" * 100_000}) as stream:
        half = io.BytesIO(stream.read()[:50_000])
    with pytest.raises(EngineError, match="Could not write to the volume"):
        beside.write(volume, half)


def test_an_archive_comes_through_a_pipe(ready: Checkout, beside: Beside, tmp_path: Path) -> None:
    """All of it is extracted, and half of it does not pass for a whole one."""
    volume = beside.volume("branch-test")
    beside.create(volume)
    with ledger.archive({"base": b"x" * 5_000_000}) as stream:
        content = stream.read()
    with piped(content, tmp_path) as stream:
        beside.write(volume, stream)
    if ready.environment.state.engine == "embedded":
        found = ready.environment.settings.folder / "volumes" / volume / "base"
        assert found.read_bytes() == b"x" * 5_000_000
    with piped(content[:2_000_000], tmp_path) as stream, pytest.raises(EngineError, match="Could not write to"):
        beside.write(volume, stream)


def test_a_server_beside_is_reached_on_its_own_port(ready: Checkout, beside: Beside, book: ledger.Ledger) -> None:
    """The environment seen from there answers every check, runs the server's programs, and has its own rows."""
    volume, port = promoted(beside, book, ready.environment), ports.pick("test beside")
    beside.launch(volume, port, ())
    there = ready.environment.at(volume, port)
    readiness.wait(there, {POSTGRES: readiness.postgres_up})
    assert all(check.passed for check in readiness.checks(there))
    with postgres.connect(there, there.superuser) as connection:
        connection.execute("INSERT INTO ledger VALUES (7)")
    out = there.engine.run("psql", ["-XAtc", "SELECT count(*) FROM ledger"], stdout=-1).communicate()[0]
    assert out.strip() == b"2"
    assert ready.query("SELECT max(number) FROM ledger") == [(2,)]
    assert there.state.postgres_port != ready.environment.state.postgres_port
    with pytest.raises(EngineError):
        beside.ask(volume, "SELECT 1")


def test_a_statement_that_fails_is_an_error_with_the_servers_words(beside: Beside, book: ledger.Ledger) -> None:
    """What psql says on stderr is not swallowed."""
    volume = beside.volume("branch-test")
    rewind.rewind(beside, volume, book.recipe(1, inclusive=True), lambda _line: None)
    with pytest.raises(EngineError, match="read-only transaction"):
        beside.ask(volume, "CREATE TABLE no ()")


def test_a_server_that_nobody_wants_any_more_is_found(beside: Beside, book: ledger.Ledger) -> None:
    """What a killed task left running is listed, and removed with its volume."""
    volume = beside.volume("branch-test")
    rewind.rewind(beside, volume, book.recipe(1, inclusive=True), lambda _line: None)
    assert beside.servers() == [volume]
    beside.remove(volume)
    assert beside.servers() == []
    assert beside.state(volume).status == "absent"


def test_destroy_takes_the_servers_beside_along(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither a server nor a volume is left."""
    checkout.run("up")
    book = ledger.write(checkout.environment, tmp_path_factory.mktemp("destroy") / "book", 1)
    beside = checkout.environment.engine.beside
    rewind.rewind(beside, beside.volume("branch-test"), book.recipe(1, inclusive=True), lambda _line: None)
    checkout.run("destroy", "--yes")
    assert (beside.volumes(), beside.servers()) == ([], [])


def test_destroy_takes_what_killed_tools_left_along(docker_engine: str, make_checkout: Callable[..., Checkout]) -> None:
    """A `docker run` that dies between making its container and starting it leaves one that no --rm removes."""
    checkout = make_checkout(ENGINE=docker_engine)
    checkout.run("up")
    engine = cast("DockerEngine", checkout.environment.engine)
    label = f"{docker_programs.TOOL}={checkout.environment.state.checkout}"
    command = ["docker", "create", f"--label={label}", engine.fingerprint(), "true"]
    made = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    checkout.run("destroy", "--yes")
    assert made not in [container.id for container in engine.client.containers.list(all=True)]
