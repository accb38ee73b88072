"""The embedded engine's clusters: how they are made, what a kill leaves, and what is refused."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from drydock.engine import POSTGRES, SERVICES, process_table, processes
from drydock.engine.configuration import compose_folder
from drydock.errors import EngineError
from tests.bare_engine import Bare, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.embedded, pytest.mark.usefixtures("embedded_engine")]


def test_initialisation_killed_with_its_task(checkout: Bare) -> None:
    """SIGKILL of the task during initdb leaves no data directory; the next start clears up and succeeds."""
    starter = checkout.elsewhere("engine.start(print)")
    volumes = checkout.volume.parent
    until(lambda: list(volumes.glob(".init-*/data/base/1")) if volumes.exists() else [])
    starter.kill()
    starter.communicate()
    assert not checkout.volume.exists()

    checkout.start()

    assert checkout.ask("SELECT 1") == 1
    assert list(volumes.glob(".*")) == []


def test_initdb_killed(checkout: Bare) -> None:
    """An initdb that dies half-way is an error with nothing left behind, and the next start is a fresh one."""
    volumes = checkout.volume.parent

    def kill() -> None:
        until(lambda: list(volumes.glob(".init-*/data/base/1")) if volumes.exists() else [])
        for pid in process_table.inside(volumes):
            seen = process_table.look(pid)
            if seen and seen.name in {"initdb", "postgres"}:
                os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(EngineError, match="Could not initialise the Postgres data directory"):
        checkout.start()
    killer.join()
    assert [path.name for path in volumes.iterdir()] == ["redis"]

    checkout.start()

    assert checkout.ask("SELECT 1") == 1


def test_leftover_of_an_initialisation(checkout: Bare) -> None:
    """A half made folder never has the final name, and is cleared away."""
    half = checkout.volume.parent / ".init-abc" / "data"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("16\n")

    checkout.start()

    assert checkout.ask("SELECT 1") == 1
    assert not half.exists()


@pytest.mark.parametrize("name", ["postgres-15-1", "postgres-16-1"])
def test_other_major_is_refused(checkout: Bare, name: str) -> None:
    """Data of another major stops the start before anything runs, naming both majors and what to do."""
    folder = checkout.volume.parent / name
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("15\n")

    with pytest.raises(EngineError, match=r"holds data of Postgres 15; this drydock runs 16") as caught:
        checkout.start()

    assert "Dump it with Postgres 15" in caught.value.hint
    assert {checkout.status(service) for service in SERVICES} == {"absent"}
    assert (folder / "PG_VERSION").read_text() == "15\n"


def test_folder_that_is_no_cluster_is_refused(checkout: Bare) -> None:
    """Somebody's files in the volume's place are not initialised over."""
    checkout.volume.mkdir(parents=True)
    (checkout.volume / "notes.txt").write_text("mine")

    with pytest.raises(EngineError, match="is no Postgres data directory"):
        checkout.start()


def test_bad_configuration_shows_as_exited(checkout: Bare) -> None:
    """A mistake in the project's own postgresql.conf ends the wait, and the log names the line."""
    own_compose(checkout)
    with (checkout.environment.settings.root / "compose" / "postgres" / "postgresql.conf").open("a") as stream:
        stream.write("\nshared_buffers = 'a lot'\n")

    checkout.start()

    until(lambda: checkout.status() == "exited", seconds=5)
    assert "shared_buffers" in "\n".join(checkout.engine.logs(POSTGRES, lines=5))


def own_compose(checkout: Bare) -> Path:
    """Give the checkout a compose folder of its own; returns its folder of initialisation scripts."""
    target = checkout.environment.settings.root / "compose"
    shutil.copytree(compose_folder(checkout.environment.settings), target)
    return target / "postgres" / "initdb.d"


def test_initialisation_scripts(checkout: Bare) -> None:
    """*.sql and *.sh run once, in the order of their names, before anybody else can connect."""
    scripts = own_compose(checkout)
    (scripts / "10-table.sql").write_text("CREATE TABLE made (by text);")
    (scripts / "20-sourced.sh").write_text("psql -v ON_ERROR_STOP=1 -c \"INSERT INTO made VALUES ('$POSTGRES_USER')\"")
    (scripts / "30-run.sh").write_text("#!/bin/sh\npsql -c \"INSERT INTO made VALUES ('run')\"\n")
    (scripts / "30-run.sh").chmod(0o755)

    checkout.start()

    assert checkout.ask("SELECT string_agg(by, ',' ORDER BY by) FROM made") == "postgres,run"
    assert "not properly shut down" not in checkout.log
    checkout.engine.stop()
    checkout.start()
    assert checkout.ask("SELECT count(*) FROM made") == 2


def test_failing_script_leaves_nothing(checkout: Bare) -> None:
    """A script that fails is named with its error; mended, the next start runs them all on a fresh cluster."""
    scripts = own_compose(checkout)
    (scripts / "10-table.sql").write_text("CREATE TABLE made (by text);")
    (scripts / "20-wrong.sql").write_text("SELEC 1;")

    with pytest.raises(EngineError, match=r"Could not initialise with 20-wrong.sql: .*syntax error"):
        checkout.start()

    assert [path.name for path in checkout.volume.parent.iterdir()] == ["redis"]
    (scripts / "20-wrong.sql").write_text("INSERT INTO made VALUES ('me');")
    checkout.start()
    assert checkout.ask("SELECT count(*) FROM made") == 1


def test_refused_user_namespace(checkout: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where root may not make a namespace the sentence says what to do instead."""
    monkeypatch.setattr(processes, "namespace_problem", lambda: "A user namespace is not allowed here.")

    with pytest.raises(EngineError, match="user namespace is not allowed") as caught:
        checkout.start()

    assert "ordinary user" in caught.value.hint


def test_unwritable_folder_is_a_sentence(checkout: Bare) -> None:
    """A problem of the file system is an error of the engine, not a traceback."""
    (checkout.engine.folder / "volumes").write_text("in the way")

    with pytest.raises(EngineError, match="Could not prepare the servers"):
        checkout.start()

    (checkout.engine.folder / "volumes").unlink()
