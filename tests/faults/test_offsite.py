"""Pushing and pulling, killed at each fault point: old or new, never half, and the next run completes it."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from drydock.backup.catalogue import Catalogue
from drydock.backup.offsite.remote import PIECE
from drydock.fault_points import Point
from tests.backups import make_packed, prove
from tests.checkout import Checkout
from tests.s3 import Store, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drydock.backup.catalogue import Entry

PUSHING = [point for point in Point if point.startswith("push:")]
PULLING = [point for point in Point if point.startswith("pull:") and point is not Point.PULL_FILE_REPAIRED]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An S3 server."""
    with serving("localbucket", tmp_path_factory.mktemp("s3")) as store:
        yield store


@pytest.fixture
def store(server: Store, request: pytest.FixtureRequest) -> Store:
    """The server with a prefix of the test's own."""
    return server.below(request.node.name)


@pytest.fixture
def mine(tmp_path: Path, store: Store) -> Checkout:
    """A checkout with a proven backup of two objects and more."""
    checkout = Checkout(tmp_path / "mine", BACKUP_REPOSITORY=store.address, **store.variables)
    content = {"dump/1.dat": os.urandom(PIECE + 1000), "dump/2.dat": os.urandom(1000)}
    prove(make_packed(_catalogue(checkout), content=content))
    return checkout


@pytest.fixture
def theirs(tmp_path: Path, mine: Checkout) -> Checkout:
    """Another checkout with the same repository."""
    return Checkout(tmp_path / "theirs", **mine.environ)


def test_an_upload_that_is_cut_leaves_nothing(store: Store) -> None:
    """As S3 promises it: what a killed push was in the midst of is not there, in part or whole."""
    path = f"/team/some/prefix/{store.folder.name}/cut"
    with socket.create_connection(("127.0.0.1", store.port)) as connection:
        connection.sendall(f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nbeginning".encode())
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.makefile("rb").readline()
    assert store.files() == {}


@pytest.mark.parametrize("point", PUSHING, ids=lambda point: point.name)
def test_a_push_killed_anywhere(store: Store, mine: Checkout, theirs: Checkout, point: Point) -> None:
    """The repository lists the whole backup or none; the next push completes it, and it is pulled as it was made."""
    mine.run("backup.push", code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    listed = store.remote().names()
    assert listed == ([_only(mine).name] if point is Point.PUSH_DONE else [])
    if listed:
        assert _is_same(mine, theirs)
    mine.run("backup.push")
    assert _is_same(mine, theirs)
    assert mine.json("backup.push")["pushed"][0]["sent"] == 0


@pytest.mark.parametrize("point", PULLING, ids=lambda point: point.name)
def test_a_pull_killed_anywhere(mine: Checkout, theirs: Checkout, point: Point) -> None:
    """The catalogue shows the whole backup or none; the next pull completes it and leaves nothing beside it."""
    mine.run("backup.push")
    theirs.run("backup.pull", code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    assert len(_catalogue(theirs).entries()) == (point is Point.PULL_NAMED)
    assert _is_same(mine, theirs)
    assert [path.name for path in _catalogue(theirs).folder.iterdir()] == [_only(mine).name]


@pytest.mark.parametrize("point", [Point.PULL_BEGUN, Point.PULL_PIECE_WRITTEN, Point.PULL_FILE_REPAIRED], ids=str)
def test_a_repair_killed_anywhere(mine: Checkout, theirs: Checkout, point: Point) -> None:
    """A file has its name when it is whole; until all are, the backup counts as damaged; the next pull completes it."""
    mine.run("backup.push")
    theirs.run("backup.pull")
    copy = _only(theirs)
    assert copy.manifest
    for file in copy.manifest.files:
        (copy.path / file).unlink()
    theirs.run("backup.pull", code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    found = _content(copy.path).items()
    assert found <= _content(_only(mine).path).items()
    assert not copy.manifest.files.keys() <= dict(found).keys()
    assert _is_same(mine, theirs)
    assert [path.name for path in _catalogue(theirs).folder.iterdir()] == [copy.name]


def _catalogue(checkout: Checkout) -> Catalogue:
    return Catalogue(checkout.root / "backups/dumps")


def _only(checkout: Checkout) -> Entry:
    (entry,) = _catalogue(checkout).entries()
    return entry


def _is_same(mine: Checkout, theirs: Checkout) -> bool:
    theirs.run("backup.pull")
    return _content(_only(mine).path) == _content(_only(theirs).path)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("task", ["backup.push", "backup.pull", "backup.remote"])
def test_ctrl_c_is_not_kept_waiting_by_a_silent_server(mine: Checkout, task: str) -> None:
    """A server that takes the request and never answers holds the task for a minute; Ctrl-C ends it long before."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = mine.start(task, AWS_ENDPOINT_URL=endpoint)
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(1)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert "interrupted" in told
    assert "Traceback" not in told
