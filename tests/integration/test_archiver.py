"""The WAL archive as a developer meets it: on from the first up, and whole again by up whatever happened to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest

from drydock import postgres
from drydock.checks import Status
from drydock.engine import ARCHIVER
from drydock.engine.process_table import inside, wait_ended
from drydock.errors import NotReadyError
from drydock.recovery.archive import progress
from drydock.recovery.archive.folders import Archive, Form, Part, part_folder, slot_name
from drydock.recovery.bases import base
from drydock.recovery.upkeep import attendant, inspection
from drydock.recovery.wal.positions import SEGMENT_SIZE, Segment, format_lsn, parse_lsn
from tests import commits
from tests.checkout import Checkout
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WRITTEN = "SELECT pg_current_wal_lsn()"
# A base backup that is being taken has a slot of its own.
SLOTS = "SELECT array_agg(slot_name::text) FROM pg_replication_slots WHERE slot_name ~ '^drydock_[0-9]'"
STATUS = "SELECT wal_status FROM pg_replication_slots WHERE slot_name ~ '^drydock_[0-9]'"


@pytest.fixture(scope="module")
def shop(engine_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout with an archive that tests damage, each in its own way; `up` mends it."""
    made = Checkout(tmp_path_factory.mktemp("archived") / "it's a shop", ENGINE=engine_name, WAL_ARCHIVE="on")
    begun = datetime.now(UTC).isoformat()
    made.run("up")
    dismiss(made, begun)
    yield made
    made.remove()


def archive(checkout: Checkout) -> Archive:
    """The archive of its cluster."""
    environment = checkout.environment
    return Archive(environment.settings, environment.state.system_identifier)


def last(checkout: Checkout) -> Part:
    """The part that is being written."""
    found = archive(checkout).parts()[-1]
    assert found.name == checkout.environment.state.part
    return found


def check(checkout: Checkout) -> dict[str, Any]:
    """What `status` says of the archive; it never makes it fail."""
    found: dict[str, Any] = glance(checkout)[progress.CHECK]
    return found


def received(checkout: Checkout, text: str, lsn: int) -> bool:
    """Whether a text is in the archive, as it would be found without the server: in the files alone.

    The attendant removes what lies before the oldest base backup: what was written before that need not be there.
    """
    wait_until_received(checkout)
    if any(text.encode() in commits.content(path) for path in part_folder(checkout.environment).glob("0*")):
        return True
    return any(one.start > lsn for one in base.bases(archive(checkout)))


def write(checkout: Checkout, text: str) -> int:
    """A committed change that can be told from others; the position after it."""
    checkout.query(f"UPDATE organizations SET name = '{text}' WHERE slug = 'acme'")
    return parse_lsn(str(checkout.query(WRITTEN)[0][0]))


def heal(checkout: Checkout) -> str:
    """Run `up`, which has something to do and does it; what it said. Its attendant is not waited for."""
    begun = datetime.now(UTC).isoformat()
    told = checkout.run("up")
    assert "nothing to do" not in told.stdout
    dismiss(checkout, begun)
    assert progress.check(progress.look(checkout.environment)).status is Status.PASS
    return told.stderr


def dismiss(checkout: Checkout, begun: str) -> None:
    """End the attendant that was started since, if it has not come to its end: it writes WAL, seals and removes."""
    settings = checkout.environment.settings

    def gone() -> bool:
        doing = attendant.look(settings)
        return attendant.stop(settings) or (doing is not None and doing.since >= begun and not doing.working)

    eventually(gone, "the attendant's end", 60)


def fill(checkout: Checkout, segments: int) -> None:
    """Begin so many segments."""
    for _ in range(segments):
        checkout.query("SELECT pg_switch_wal() FROM pg_create_restore_point('filler')")


def test_what_is_committed_is_in_the_archive(ready: Checkout) -> None:
    """From the first up on: status says how far, and the change is found in the files of the backup folder."""
    lsn = write(ready, "Received and kept")
    assert received(ready, "Received and kept", lsn)
    assert check(ready)["detail"].endswith("behind")
    part = archive(ready).parts()[0]
    assert (part.name, part.incarnation, part.timeline, part.reason, part.hole) == ("1", 1, 1, "first start", False)
    write(ready, "Acme")


def test_the_files_are_the_users(ready: Checkout) -> None:
    """Owned by whoever called drydock, and closed to everybody else."""
    folder = part_folder(ready.environment)
    for path in (folder, *folder.iterdir()):
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o077) == (os.getuid(), os.getgid(), 0)


def test_the_replication_role_replicates_and_nothing_else(ready: Checkout) -> None:
    """It is no superuser, makes nothing, passes no policy and cannot connect to the application's database."""
    query = """SELECT rolreplication, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls
               FROM pg_roles WHERE rolname = 'app_replication'"""
    assert ready.query(query) == [(True, False, False, False, False)]
    with pytest.raises(NotReadyError, match="CONNECT privilege"):
        postgres.connect(ready.environment, ready.environment.replication)


def test_the_archivers_password_is_in_a_file_only(ready: Checkout) -> None:
    """No argument and no variable carries it, and the container is as confined as the others."""
    environment = ready.environment
    password = environment.replication.password
    if environment.state.engine == "embedded":
        process = psutil.Process(json.loads((ready.root / ".drydock" / "run" / "archiver.json").read_text())["pid"])
        assert password not in f"{process.cmdline()} {process.environ()}"
        return
    container = environment.engine.containers(ARCHIVER)[0]  # type: ignore[attr-defined]
    assert password not in json.dumps(container.attrs)
    host = container.attrs["HostConfig"]
    assert (host["CapAdd"] or [], host["CapDrop"], host["SecurityOpt"]) == ([], ["ALL"], ["no-new-privileges:true"])
    assert {mount["Type"] for mount in container.attrs["Mounts"]} == {"bind", "tmpfs"}


def test_waiting_for_a_position_has_it_written_and_received(ready: Checkout) -> None:
    """Also a restore point, which no commit takes to the disk; one that is never reached ends in a sentence."""
    lsn = parse_lsn(str(ready.query("SELECT pg_create_restore_point('here')")[0][0]))
    assert progress.wait_for(ready.environment, lsn, 10).received >= lsn
    with pytest.raises(NotReadyError, match=r"not to 1/0: it did not get further in 0 s"):
        progress.wait_for(ready.environment, 1 << 32, 0.05)


def test_the_archivers_log_can_be_read(ready: Checkout) -> None:
    """It is a service that `logs` knows; without being named it stays out of the way."""
    assert isinstance(ready.json("logs", "--service", "archiver")["archiver"], list)
    assert "archiver" not in ready.json("logs")


def test_down_archives_all_there_is(shop: Checkout) -> None:
    """The last record that Postgres writes, the checkpoint of its end, is in the archive when `down` is done."""
    shop.run("down")
    newest = max(archive(shop).segments(last(shop).name), key=lambda one: one.segment)
    told = commits.records(shop.environment, newest.segment)
    assert b"CHECKPOINT_SHUTDOWN" in told.splitlines()[-1]
    heal(shop)


def test_a_dead_archiver_is_a_warning_and_up_starts_it(shop: Checkout) -> None:
    """Status says so with exit code 0, waiting for it ends at once, and nothing is missing once it is back."""
    part = last(shop)
    kill(shop)
    lsn = write(shop, "While it was dead")
    found = check(shop)
    assert (found["status"], found["fix"]) == ("warn", "invoke up")
    assert "the archiver does not run" in found["detail"]
    with pytest.raises(NotReadyError, match="the archiver does not run"):
        progress.wait_for(shop.environment, parse_lsn(str(shop.query(WRITTEN)[0][0])))
    heal(shop)
    assert shop.json("up")["changed"] is False
    assert received(shop, "While it was dead", lsn)
    assert last(shop) == part


def test_what_an_archive_that_is_behind_does_not_have_is_not_counted(shop: Checkout) -> None:
    """A plan says that what it will undo is not known, and `up` comes first, until the archiver is back."""
    shop.run("backup.base")
    kill(shop)
    write(shop, "While nobody received it")
    told = shop.run("restore", "--latest", "--plan").stdout
    assert "what will be undone is not known: the newest WAL is missing; invoke up first" in told
    assert shop.json("restore", "--latest", "--plan")["plan"]["undone"] is None
    refused = shop.run("restore", "--at", "now", "--plan", code=3).stderr
    assert "invoke up, which has the archive receive what is newer; else invoke restore --at" in refused
    heal(shop)
    assert "will be undone: 0 transactions" in shop.run("restore", "--latest", "--plan").stdout


def test_an_archiver_that_lost_its_connection_is_waited_for(shop: Checkout) -> None:
    """As after a machine's sleep: it comes back by itself, so what needs it waits, and a mark can be made meanwhile."""
    cut(shop)
    assert not progress.look(shop.environment).connected
    shop.run("mark", "just-woken-up")
    cut(shop)
    lsn = write(shop, "While it was not connected")
    assert progress.wait_for(shop.environment, lsn).connected


def test_an_archiver_that_cannot_connect_is_not_waited_for_long(
    shop: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs, and still ends the wait, in a sentence of its own."""
    monkeypatch.setattr(progress, "COMING_BACK", 0.5)
    shop.query("ALTER ROLE app_replication NOLOGIN", role="superuser")
    cut(shop)
    with pytest.raises(NotReadyError, match="the archiver runs and cannot connect"):
        progress.wait_for(shop.environment, 1 << 32)
    assert progress.absence(shop.environment) == "the archiver runs and cannot connect"
    heal(shop)
    assert progress.absence(shop.environment) == ""


def cut(checkout: Checkout) -> None:
    """End the archiver's connection from the server's side; the slot is free when this returns."""
    query = "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE active"
    assert checkout.query(query, role="superuser") == [(True,)]


def kill(checkout: Checkout) -> None:
    """SIGKILL for the archiver, so that nothing starts it again by itself; the server notices."""
    environment = checkout.environment
    if environment.state.engine == "embedded":
        psutil.Process(json.loads((checkout.root / ".drydock" / "run" / "archiver.json").read_text())["pid"]).kill()
    else:
        environment.engine.containers(ARCHIVER)[0].kill()  # type: ignore[attr-defined]
    eventually(lambda: not progress.look(environment).connected, "the server notices")


def test_doctor_explains_a_stopped_archiver(shop: Checkout) -> None:
    """What has become of it, what the server keeps for it, and the command that mends it."""
    kill(shop)
    found = {c["name"]: c for c in shop.json("doctor")["checks"]}
    assert (found["archive:process"]["status"], found["archive:process"]["fix"]) == ("warn", "invoke up")
    assert "exited" in found["archive:process"]["detail"]
    assert found["archive:slot"]["detail"].startswith("reserved")
    assert found["archive:room"]["detail"].endswith(str(shop.root / "backups"))
    heal(shop)
    assert {c["name"]: c for c in shop.json("doctor")["checks"]}["archive:process"]["status"] == "pass"


def test_status_shows_what_can_be_restored_and_what_is_missing(shop: Checkout) -> None:
    """The window begins with a base backup; a file that is gone ends it, and the next base backup begins anew."""
    shop.run("backup.base")
    assert "any moment since" in glance(shop)["archive:window"]["detail"]
    fill(shop, 3)
    wait_until_received(shop)
    numbers = [one.segment.number for one in archive(shop).segments(last(shop).name)]
    gone = [one for one in archive(shop).segments(last(shop).name) if one.segment.number == max(numbers) - 2]
    for one in gone:
        one.path.unlink()
    found = glance(shop)
    assert found["archive:window"]["status"] == found["archive:holes"]["status"] == "warn"
    assert "invoke backup.base" in found["archive:window"]["fix"]
    assert format_lsn(gone[0].segment.start) in found["archive:holes"]["detail"]
    shop.run("backup.base")
    found = glance(shop)
    assert found["archive:window"]["status"] == found["archive:holes"]["status"] == "pass"
    assert "which somebody took away" in found["archive:holes"]["detail"]


def glance(checkout: Checkout) -> dict[str, Any]:
    """The checks of `status`, by name."""
    return {c["name"]: c for c in checkout.json("status")["checks"]}


def wait_until_received(checkout: Checkout) -> None:
    """Until all that is written is in the archive."""
    progress.wait_for(checkout.environment, parse_lsn(str(checkout.query(WRITTEN)[0][0])))


def test_postgres_started_anew_is_archived_on(shop: Checkout) -> None:
    """After a change of its configuration too: the archiver is connected when `up` is done."""
    path = shop.root / "compose" / "postgres" / "postgresql.conf"
    path.write_text(path.read_text() + "work_mem = 8MB\n")
    part = last(shop)
    heal(shop)
    assert shop.query("SHOW work_mem") == [("8MB",)]
    assert last(shop) == part


def test_an_archiver_stopped_for_too_long(shop: Checkout) -> None:
    """The server gave up what it kept: status says that WAL is lost, up begins a new part and records the hole."""
    before = last(shop)
    shop.query("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'")
    shop.query("SELECT pg_reload_conf()")
    shop.environment.engine.stop_archiver()
    fill(shop, 4)
    shop.query("CHECKPOINT")
    eventually(lambda: shop.query(STATUS) == [("lost",)], "the slot is lost")
    assert "some is lost to the archive" in check(shop)["detail"]
    assert "the WAL archive begins anew" in heal(shop)
    shop.query("ALTER SYSTEM RESET max_slot_wal_keep_size")
    shop.query("SELECT pg_reload_conf()")
    part = last(shop)
    assert part.hole
    assert "max_slot_wal_keep_size" in part.reason
    assert shop.query(SLOTS) == [([slot_name(part.name)],)]
    assert (archive(shop).folder / before.name).is_dir()
    lsn = write(shop, "After the hole")
    assert received(shop, "After the hole", lsn)


def test_a_slot_that_is_gone_is_no_hole_where_its_wal_is_still_there(shop: Checkout) -> None:
    """The new part overlaps the one before; where segments between them are missing, it says so."""
    for segments, hole in ((0, False), (3, True)):
        shop.environment.engine.stop_archiver()
        shop.query(f"SELECT pg_drop_replication_slot('{slot_name(last(shop).name)}')")
        fill(shop, segments)
        shop.query("CHECKPOINT")
        assert "slot is gone" in check(shop)["detail"]
        assert "its replication slot is gone" in heal(shop)
        assert last(shop).hole is hole


def test_a_file_from_elsewhere_does_not_stop_the_archive(shop: Checkout) -> None:
    """pg_receivewal would ask for what comes after it for ever: up begins a new part instead."""
    write(shop, "Before a strange file")
    wait_until_received(shop)
    shop.environment.engine.stop_archiver()
    folder = part_folder(shop.environment)
    newest = max(one.segment for one in archive(shop).segments(folder.name))
    (folder / Segment(newest.timeline, newest.number + 5).name).write_bytes(b"\0" * SEGMENT_SIZE)
    assert "its newest file is ahead of this server" in heal(shop)


def test_a_part_whose_files_are_gone(shop: Checkout) -> None:
    """Removed altogether, or but for its description: what comes now is kept in a new part, with a hole before it."""
    fill(shop, 2)
    shop.query("CHECKPOINT")
    wait_until_received(shop)
    shop.environment.engine.stop_archiver()
    for path in part_folder(shop.environment).glob("0*"):
        path.unlink()
    assert "its files are gone" in heal(shop)
    assert last(shop).hole
    shop.environment.engine.stop_archiver()
    shutil.rmtree(part_folder(shop.environment))
    assert "is gone" in heal(shop)
    assert last(shop).hole


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_backups_that_are_taken_away_under_the_archiver(shop: Checkout, tmp_path: Path, how: str) -> None:
    """Everybody says so; up ends that archiver, begins a new part, and has a base backup taken."""
    environment = shop.environment
    backups, part = environment.settings.backups, part_folder(environment)
    before = receivers(shop)
    shutil.move(backups, tmp_path / "aside") if how == "moved" else shutil.rmtree(backups)
    assert check(shop)["status"] == "warn"
    assert f"{part} is gone" in check(shop)["detail"]
    assert f"{part} is gone" in shop.run("mark", "nowhere", code=None).stderr
    assert {"where": str(part), "what": inspection.GONE} in [
        {name: found[name] for name in ("where", "what")} for found in shop.json("archive.verify", code=1)["findings"]
    ]
    assert f"{part} is gone" in heal(shop)
    assert last(shop).hole
    assert last(shop).name != part.name
    taken = [one.part for one in base.bases(archive(shop))]
    assert taken == [last(shop).name] or base.due(shop.environment)
    assert len(receivers(shop)) == 1
    assert receivers(shop) != before
    lsn = write(shop, f"Anew, {how}")
    assert received(shop, f"Anew, {how}", lsn)


def test_an_archiver_without_its_folder_ends_with_the_servers(
    embedded_engine: str, make_checkout: Callable[..., Checkout]
) -> None:
    """Also where it is paused: Postgres does not end before it has everything."""
    checkout = make_checkout(ENGINE=embedded_engine, WAL_ARCHIVE="on")
    for task in (("down",), ("destroy", "--yes")):
        begun = datetime.now(UTC).isoformat()
        checkout.run("up")
        dismiss(checkout, begun)
        (receiver,) = inside(part_folder(checkout.environment))
        shutil.rmtree(checkout.environment.settings.backups)
        os.kill(receiver, signal.SIGSTOP)
        eventually(lambda: checkout.environment.engine.archiver().status == "paused", "the archiver is paused")
        checkout.run(*task)
        assert wait_ended(receiver, 0)


def receivers(checkout: Checkout) -> list[tuple[object, ...]]:
    """The server's side of what receives its WAL, but for a base backup's."""
    return checkout.query("SELECT active_pid FROM pg_replication_slots WHERE slot_name ~ '^drydock_[0-9]' AND active")


def test_a_kill_before_the_part_was_recorded(shop: Checkout) -> None:
    """Slot and folder are there, the record is not: up goes on with them."""
    part = last(shop)
    shop.environment.record(part="")
    assert check(shop)["detail"] == "the archiver was never started"
    heal(shop)
    assert last(shop) == part


def test_a_file_that_a_full_disk_stunted(shop: Checkout) -> None:
    """pg_receivewal leaves it behind and refuses it ever after: up removes it, and nothing is missing."""
    part = last(shop)
    write(shop, "Before the disk was full")
    wait_until_received(shop)
    shop.environment.engine.stop_archiver()
    partial = next(one.path for one in archive(shop).segments(part.name) if one.form is Form.PARTIAL)
    os.truncate(partial, SEGMENT_SIZE // 2)
    heal(shop)
    assert last(shop) == part
    lsn = write(shop, "With room again")
    assert received(shop, "With room again", lsn)


def test_the_archive_can_be_turned_off_and_on(shop: Checkout) -> None:
    """Off: no archiver, and no slot that would have the server keep WAL for nobody. On again: a new part."""
    shop.run("backup.base")
    assert "is not archived" in shop.run("up", WAL_ARCHIVE="off").stderr
    assert shop.query(SLOTS) == [(None,)]
    assert shop.environment.engine.archiver().status == "absent"
    assert not any(c["name"].startswith("archive") for c in shop.json("status", WAL_ARCHIVE="off")["checks"])
    assert shop.json("up", WAL_ARCHIVE="off")["changed"] is False
    # What is written meanwhile is counted by nobody, and no `up` has it received.
    planned = shop.run("restore", "--latest", "--plan", WAL_ARCHIVE="off").stdout.splitlines()
    assert "  what will be undone is not known: the newest WAL is missing" in planned
    assert "the archive was off" in heal(shop)


def test_another_backup_folder_gets_a_part_of_its_own(shop: Checkout) -> None:
    """BACKUP_FOLDER changed: the archiver leaves the old folder as it is, and writes to the new one."""
    old = part_folder(shop.environment)
    shop.configure(BACKUP_FOLDER="elsewhere")
    heal(shop)
    assert part_folder(shop.environment).is_relative_to(shop.root / "elsewhere")
    before = {path: path.stat().st_mtime for path in old.iterdir()}
    lsn = write(shop, "Elsewhere")
    assert received(shop, "Elsewhere", lsn)
    assert before == {path: path.stat().st_mtime for path in old.iterdir()}


def test_an_archive_that_cannot_be_written_stops_nothing(
    engine_name: str, make_checkout: Callable[..., Checkout]
) -> None:
    """Up says that nothing is archived, the environment is usable, and status goes on saying it."""
    checkout = make_checkout(ENGINE=engine_name, WAL_ARCHIVE="on", BACKUP_FOLDER="tasks.py/below")
    assert "nothing is archived" in checkout.run("up").stderr
    assert checkout.query("SELECT count(*) FROM messages") == [(1194,)]


def test_a_new_cluster_beside_an_old_archive(shop: Checkout) -> None:
    """Destroy keeps the archive; the cluster of the next up has another identity and so another folder."""
    before = archive(shop)
    shop.run("down")
    kept = {path: path.stat().st_size for path in before.folder.rglob("*")}
    shop.run("destroy", "--yes")
    shop.run("up")
    after = archive(shop)
    assert after.folder != before.folder
    assert (last(shop).name, last(shop).hole) == ("1", False)
    assert kept == {path: path.stat().st_size for path in before.folder.rglob("*")}


def test_the_archive_outlives_a_move_of_the_checkout(
    embedded_engine: str, make_checkout: Callable[..., Checkout], tmp_path: Path
) -> None:
    """A folder that was moved takes its archiver along."""
    checkout = make_checkout(ENGINE=embedded_engine, WAL_ARCHIVE="on")
    checkout.run("up")
    # A checkpoint that ends after the move ends the server: Postgres knows pg_control by its whole path.
    commits.settle(checkout.environment)
    checkout.root = checkout.root.rename(tmp_path / "moved")
    fill(checkout, 2)
    lsn = write(checkout, "After the move")
    assert received(checkout, "After the move", lsn)
    assert checkout.json("down") == {"stopped": True}
    assert checkout.environment.engine.archiver().status == "absent"
    assert inside(part_folder(checkout.environment)) == []


def test_psycopg_can_not_use_the_role_for_data(ready: Checkout) -> None:
    """In the server's own database it sees what everybody sees, and no more."""
    environment = ready.environment
    with (
        postgres.connect(environment, environment.replication, "postgres") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT * FROM pg_authid")
