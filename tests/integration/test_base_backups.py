"""Base backups of a server that is in use: taken beside everything else, proven, and what the audit makes of damage."""

from __future__ import annotations

import io
import os
import re
import secrets
import signal
import subprocess
import tarfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

from drydock import postgres
from drydock.backup.encryption import OPEN
from drydock.backup.pg_program import ending
from drydock.engine import POSTGRES
from drydock.errors import DrydockError, RefusedError
from drydock.recovery.archive.folders import Archive, Form, part_folder
from drydock.recovery.bases import base, base_manifest, copying, proof
from drydock.recovery.history import relations
from drydock.recovery.upkeep import attendant, inspection, overview, sealing
from drydock.recovery.upkeep.attendant import COPYING, DONE
from drydock.recovery.wal.positions import NAME, SEGMENT_SIZE
from tests.checkout import Checkout
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drydock.recovery.upkeep.audit_part import Finding


@pytest.fixture(scope="module")
def shop(engine_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout of this module's own on each engine, whose attendant has done its work: all its archive is audited."""
    checkout = Checkout(tmp_path_factory.mktemp("bases") / "shop", ENGINE=engine_name, WAL_ARCHIVE="on")
    checkout.run("up")
    await_attendant(checkout)
    yield checkout
    checkout.remove()


def await_attendant(checkout: Checkout) -> attendant.Doing:
    """Wait until nobody looks after the archive any more; returns what came of it."""
    settings = checkout.environment.settings
    done = {attendant.DONE, attendant.FAILED}
    eventually(lambda: (doing := attendant.look(settings)) and doing.step in done, "the attendant is done", 120)
    doing = attendant.look(settings)
    assert doing
    return doing


def archive(checkout: Checkout) -> Archive:
    environment = checkout.environment
    return Archive(environment.settings, environment.state.system_identifier)


def findings(checkout: Checkout) -> list[Finding]:
    environment = checkout.environment
    return inspection.inspect(environment.settings, environment, lambda _line: None)


def finish_segments(checkout: Checkout, count: int) -> None:
    """Write a few segments' worth of WAL, each with something in it."""
    for number in range(count):
        checkout.query(f"UPDATE organizations SET name = 'acme {number}' WHERE slug = 'acme'")
        checkout.query("SELECT pg_switch_wal()")
    checkout.query("UPDATE organizations SET name = 'acme' WHERE slug = 'acme'")


def test_the_first_up_has_a_base_backup_taken_and_proven(shop: Checkout) -> None:
    """Beside everything else; status says so, and nothing is due then."""
    assert attendant.look(shop.environment.settings).step == DONE  # type: ignore[union-attr]
    # What its files are called in the history, written down before a table can be dropped.
    assert "messages" in {found.table for one in relations.kept(archive(shop)) for found in one.files.values()}
    found = base.bases(archive(shop))
    assert found[0].proven
    assert found[0].manifest.reason == "it is the first"
    assert base.due(shop.environment) == ""
    (check,) = [check for check in shop.json("status")["checks"] if check["name"] == overview.BASE]
    assert check["status"] == "pass"
    assert found[-1].name in check["detail"]


def test_a_damaged_base_backup_is_told_of_and_replaced(shop: Checkout) -> None:
    """Status warns, the list says so, and another one is due, until it is proven again."""
    found = base.bases(archive(shop))[-1]
    assert found.proof is not None
    base_manifest.note_damage(found.path, "a bit is wrong.")
    try:
        assert base.due(shop.environment) == "the last one is damaged"
        (check,) = [check for check in shop.json("status")["checks"] if check["name"] == overview.BASE]
        assert (check["status"], check["detail"]) == ("warn", f"{found.name} is damaged: a bit is wrong")
        assert "damaged" in shop.run("archive.list").stdout
    finally:
        base_manifest.write_proof(found.proof, found.path)
    assert base.due(shop.environment) == ""


def test_a_base_backup_holds_the_cluster_and_the_wal_it_needs(shop: Checkout) -> None:
    """As a tar stream: PGDATA, the segments from its start to its stop, and pg_basebackup's manifest."""
    made = shop.json("backup.base", "--reason", "test")
    found = base.bases(archive(shop))[-1]
    assert (found.name, found.manifest.reason) == (made["name"], "test")
    assert made["proven"]
    with base.unpacked(found, OPEN) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        names = [member.name for member in tar]
    needed = f"pg_wal/{found.timeline:08X}00000000{found.start // SEGMENT_SIZE:08X}"
    assert {"backup_label", "global/pg_control", "PG_VERSION", needed} <= set(names)
    assert names[-1] == "backup_manifest"
    manifest = found.manifest
    assert manifest.settings["track_commit_timestamp"] == "on"
    assert manifest.extensions["vector"]
    assert found.started < found.stopped <= datetime.now(UTC)
    assert found.start < found.stop


def test_making_an_encrypted_base_backup_needs_no_secret(
    any_engine: str, make_checkout: Callable[..., Checkout], tmp_path: Path
) -> None:
    """Without BACKUP_IDENTITY it is made, and said to be unproven."""
    own = make_checkout(ENGINE=any_engine, WAL_ARCHIVE="on")
    public = own.json("backup.keygen", "--path", str(tmp_path / "key.age"))["recipient"]
    own.configure(BACKUP_RECIPIENTS=public)
    own.run("up")
    told = own.run("backup.base")
    assert "unproven, for BACKUP_IDENTITY is not set" in told.stderr
    *_, sealed = base.bases(archive(own))
    assert sealed.manifest.recipients == [public]
    assert sealed.proof is None
    told = own.run("archive.verify")
    assert "what is encrypted was compared with its hash alone: BACKUP_IDENTITY is not set" in told.stderr


def test_a_base_backup_under_load_is_whole(shop: Checkout, tmp_path: Path) -> None:
    """Writers go on while it is taken, and the proof holds."""
    environment, script = shop.environment, tmp_path / "load.sql"
    script.write_text("INSERT INTO load SELECT g, repeat('x', 500) FROM generate_series(1, 200) AS g;\n")
    shop.query("CREATE TABLE load (id int, text text)")
    words = ["--no-vacuum", "--client=2", "--time=6", f"--file={script.name}"]
    load = environment.engine.run("pgbench", words, folder=tmp_path, stdout=subprocess.DEVNULL)
    with ending(load):
        made = shop.json("backup.base")
        _, said = load.communicate()
    shop.query("DROP TABLE load")
    assert (load.returncode, made["proven"] is not None) == (0, True), said


def test_tablespaces_are_refused_with_a_sentence(shop: Checkout) -> None:
    """Before anything is written."""
    before = base.folders(archive(shop))
    with postgres.administer(shop.environment) as connection:
        connection.execute("SET allow_in_place_tablespaces = on")
        connection.execute("CREATE TABLESPACE elsewhere LOCATION ''")
    try:
        told = shop.run("backup.base", code=3)
    finally:
        shop.query("DROP TABLESPACE elsewhere")
    assert "tablespaces" in told.stderr
    assert "elsewhere" in told.stderr
    assert base.folders(archive(shop)) == before


@pytest.fixture
def elsewhere(shop: Checkout) -> Iterator[str]:
    """A folder for a tablespace that the server may write to: on Docker it is in the container, and goes with it."""
    folder, environment = Path(f"/tmp/drydock-{secrets.token_hex(6)}"), shop.environment  # noqa: S108 - of the server's
    if environment.state.engine == "docker":
        made = environment.engine._container(POSTGRES).exec_run(["mkdir", "-m", "700", str(folder)], user="postgres")  # type: ignore[attr-defined]
        assert made.exit_code == 0, made.output
        yield str(folder)
    else:
        folder.mkdir(mode=0o700)
        yield str(folder)
        folder.rmdir()


def test_no_restore_goes_beyond_a_tablespace(shop: Checkout, elsewhere: str) -> None:
    """A server beside would write to the same folder: status and doctor warn, plans are refused up to a later base."""
    shop.query(f"CREATE TABLESPACE elsewhere LOCATION '{elsewhere}'")
    try:
        shop.query("CREATE TABLE fast TABLESPACE elsewhere AS SELECT generate_series(1, 500) AS i")
        told = shop.run("restore", "--latest", "--yes", code=3)
        assert f"makes a tablespace in {elsewhere}" in told.stderr
        before = re.search(r"--lsn (\S+) goes back", told.stderr)
        assert before
        branch = shop.run("restore", "--latest", "--branch", "early", code=3)
        assert "makes a tablespace" in branch.stderr
        assert shop.query("SELECT count(*) FROM fast") == [(500,)]
        shop.run("restore", "--lsn", before[1], "--plan")
        for task in ("status", "doctor"):
            (check,) = [one for one in shop.json(task, code=None)["checks"] if one["name"] == overview.SPACES]
            assert check["status"] == "warn"
            assert "(elsewhere)" in check["detail"]
    finally:
        shop.query("DROP TABLE IF EXISTS fast")
        shop.query("DROP TABLESPACE elsewhere")
    shop.run("backup.base")
    shop.run("restore", "--latest", "--plan")
    assert overview.SPACES not in {one["name"] for one in shop.json("status")["checks"]}


def test_without_an_archive_there_is_no_base_backup(shop: Checkout) -> None:
    """WAL_ARCHIVE=off: a sentence with the way out."""
    told = shop.run("backup.base", code=3, WAL_ARCHIVE="off")
    assert "Set WAL_ARCHIVE=on" in told.stderr


def test_a_base_backup_is_due_once_enough_wal_has_piled_up(shop: Checkout) -> None:
    """And the next `up` that has something to do sees to it; here the attendant itself is asked."""
    from dataclasses import replace

    environment = shop.environment
    finish_segments(shop, 2)
    environment.settings = replace(environment.settings, base_backup_wal=SEGMENT_SIZE)
    assert "of WAL since the last one" in base.due(environment)


def test_sealing_keeps_up_with_the_archiver(shop: Checkout) -> None:
    """Real segments, switched early, are sealed as they come; the archiver goes on in the same folder."""
    environment = shop.environment
    finish_segments(shop, 3)
    from drydock.recovery.archive import progress
    from drydock.recovery.wal.positions import parse_lsn

    progress.wait_for(environment, parse_lsn(str(shop.query("SELECT pg_current_wal_lsn()")[0][0])))
    done = sealing.seal(environment.settings, archive(shop), writing=environment.state.part)
    assert done.refused == {}
    plain = [one for one in archive(shop).segments(environment.state.part) if one.form is Form.FINISHED]
    assert len(plain) <= 1
    assert findings(shop) == []
    shop.run("down")
    shop.run("up")
    await_attendant(shop)
    assert findings(shop) == []


def test_tasks_have_sealed_what_piled_up(shop: Checkout) -> None:
    """Whoever never runs `up` again is looked after as well: a task that changes something starts the attendant."""
    finish_segments(shop, attendant.PILE + 2)
    folder = part_folder(shop.environment)
    shop.run("migrate")
    eventually(lambda: len([path for path in folder.iterdir() if NAME.fullmatch(path.name)]) <= 1, "sealed", 60)
    await_attendant(shop)


@contextmanager
def flipped(path: Path, position: int) -> Iterator[None]:
    """A bit is flipped in place while the body runs, whatever the archiver does with the file meanwhile."""
    with path.open("r+b") as stream:
        stream.seek(position)
        (before,) = stream.read(1)
        _put(stream, position, before ^ 16)
        try:
            yield
        finally:
            _put(stream, position, before)


def _put(stream: BinaryIO, position: int, value: int) -> None:
    stream.seek(position)
    stream.write(bytes([value]))
    stream.flush()


def test_damage_that_only_records_show_is_found(shop: Checkout) -> None:
    """A bit within a record of a segment that is not sealed yet, or of the one being written."""
    environment = shop.environment
    finish_segments(shop, 2)
    assert findings(shop) == []
    folder = part_folder(environment)
    partial = next(folder.glob("*.partial"))
    for path in [partial, *(one.path for one in archive(shop).segments(folder.name) if one.form is Form.FINISHED)]:
        with flipped(path, 200):
            assert findings(shop), path
    assert findings(shop) == []


def test_archive_verify_says_what_is_wrong(shop: Checkout) -> None:
    """Exit code, sentence and way out; and all is well once the file is back, whatever else drydock keeps there."""
    finish_segments(shop, 2)
    shop.run("mark", "here")
    shop.run("history")
    environment = shop.environment
    sealing.seal(environment.settings, archive(shop), writing=environment.state.part)
    path = next(one.path for one in archive(shop).segments(environment.state.part) if one.form is Form.SEALED)
    content = path.read_bytes()
    path.unlink()
    assert shop.json("archive.verify", code=1)["findings"]
    told = shop.run("archive.verify", code=1)
    assert f"{path}: it is missing" in told.stdout
    assert "wrong with the archive" in told.stderr
    path.write_bytes(content)
    assert "is what was written" in shop.run("archive.verify").stdout


def test_archives_are_verified_without_an_environment(shop: Checkout, tmp_path: Path) -> None:
    """A checkout with nothing but the backups folder; before it has that, it says that there is none."""
    import shutil

    empty = Checkout(tmp_path / "empty")
    for task in ("archive.list", "archive.verify"):
        assert empty.run(task).stdout == "No archive yet: invoke up\n"
    shutil.copytree(shop.root / "backups", empty.root / "backups")
    assert "is what was written" in empty.run("archive.verify").stdout
    listed = empty.json("archive.list")["archives"]
    assert listed[shop.environment.state.system_identifier]["bases"]


def test_a_damaged_base_backup_is_not_proven(shop: Checkout) -> None:
    """The stream ends in an error, and the proof is not written."""
    environment = shop.environment
    made = copying.take(environment, reason="damaged", now=datetime.now(UTC), progress=lambda *_: None)
    with flipped(made.path / base.TAR, made.manifest.size // 2), pytest.raises(DrydockError):
        proof.verify(environment, made, now=datetime.now(UTC))
    assert not base.read(archive(shop), made.path).proven
    assert findings(shop) == []
    assert base.read(archive(shop), made.path).proven


def test_an_encrypted_base_backup_needs_its_key(shop: Checkout, tmp_path: Path) -> None:
    """Taken with the public key alone, proven with the private one."""
    from dataclasses import replace

    import pyrage

    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "key").write_text(str(identity))
    (tmp_path / "key").chmod(0o600)
    environment = shop.environment
    environment.settings = replace(environment.settings, backup_recipients=(str(identity.to_public()),))
    made = copying.take(environment, reason="encrypted", now=datetime.now(UTC), progress=lambda *_: None)
    assert list(made.manifest.files) == ["base.tar.zst.age"]
    with pytest.raises(DrydockError, match="no identity is set"):
        proof.verify(environment, made, now=datetime.now(UTC))
    environment.settings = replace(environment.settings, backup_identity=str(tmp_path / "key"))
    assert proof.verify(environment, made, now=datetime.now(UTC)).identity == made.manifest.identity


def test_an_attendant_ends_with_down(shop: Checkout) -> None:
    """In the midst of a base backup: down waits for its end, nothing of it is left, and the next up takes it anew."""
    environment = shop.environment
    with no_base_backups(shop):
        attendant.spawn(environment)
        eventually(lambda: (doing := attendant.look(environment.settings)) and doing.step == COPYING, COPYING, 60)
        with held(attendant.look(environment.settings).pid) as asked_to_end:  # type: ignore[union-attr]
            down = shop.start("down")
            eventually(asked_to_end, "down asks the attendant to end", 60)
        assert (*down.communicate(timeout=180), down.returncode)[-1] == 0
        assert attendant.look(environment.settings).step == attendant.ENDED  # type: ignore[union-attr]
        assert attendant.stop(environment.settings) is False
        shop.run("up")
        await_attendant(shop)
        assert [one.proven for one in base.bases(archive(shop))] == [True]
    assert list(archive(shop).bases.glob(".unfinished-*")) == []


@contextmanager
def held(pid: int) -> Iterator[Callable[[], bool]]:
    """Stop a session's processes while the body runs, for they would be done too soon; yields whether SIGTERM waits."""
    status = Path(f"/proc/{pid}/status")

    def asked_to_end() -> bool:
        waiting = re.findall(r"^(?:Sig|Shd)Pnd:\t(\w+)$", status.read_text(), re.MULTILINE)
        return any(int(signals, 16) >> (signal.SIGTERM - 1) & 1 for signals in waiting)

    os.killpg(pid, signal.SIGSTOP)
    try:
        yield asked_to_end
    finally:
        os.killpg(pid, signal.SIGCONT)


@contextmanager
def no_base_backups(shop: Checkout) -> Iterator[None]:
    """Those that there are do not count while the body runs."""
    kept = {path: path.read_bytes() for folder in base.folders(archive(shop)) for path in folder.glob("base.json")}
    for path in kept:
        path.unlink()
    try:
        yield
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


@pytest.fixture
def refused(shop: Checkout) -> Iterator[None]:
    """The recorded part of another life."""
    environment = shop.environment
    part = environment.state.part
    environment.record(part="")
    yield
    environment.record(part=part)


@pytest.mark.usefixtures("refused")
def test_before_the_archive_has_begun_there_is_nothing_to_copy(shop: Checkout) -> None:
    """A sentence."""
    with pytest.raises((DrydockError, RefusedError), match="has not begun"):
        base.archive_of(shop.environment)


def test_lay_out_refuses_what_is_no_cluster(tmp_path: Path) -> None:
    """Links and paths that lead out of the folder."""
    for name, kind in (("../out", tarfile.REGTYPE), ("link", tarfile.SYMTYPE)):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as tar:
            member = tarfile.TarInfo(name)
            member.type = kind
            tar.addfile(member)
        made.seek(0)
        with pytest.raises(DrydockError, match="neither file nor folder"):
            proof.lay_out(made, tmp_path / name.strip("./"))
