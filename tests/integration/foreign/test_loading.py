"""Dumps that drydock did not make: every form brings all there is, and what could not be carried over is told."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import subprocess
import threading
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import pytest

from drydock import postgres, template
from drydock.backup.foreign import loading
from drydock.errors import DrydockError
from tests.strangers import LOADED, ROLES, Dumps, loaded, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from tests.checkout import Checkout


FORMS = {
    "custom": (["--format=c"], ""),
    "custom, not compressed, xz": (["--format=c", "--compress=0"], "xz"),
    "custom, gzip": (["--format=c"], "gzip"),
    "tar": (["--format=t"], ""),
    "tar, bzip2": (["--format=t"], "bzip2"),
    "tar, zstd": (["--format=t"], "zstd"),
    "plain": ([], ""),
    "plain, gzip": ([], "gzip"),
    "plain, zstd": ([], "zstd"),
    "plain, clean and create": (["--clean", "--create", "--if-exists"], "xz"),
    "plain, clean": (["--clean"], ""),
    "plain, inserts": (["--inserts", "--quote-all-identifiers"], "bzip2"),
    "plain, owners by session": (["--use-set-session-authorization"], ""),
}


@pytest.mark.parametrize("form", ["custom", "tar, bzip2", "plain, clean and create"])
def test_a_form_of_each_kind_on_each_engine(dumps: Dumps, form: str) -> None:
    """The loaded database, dumped again, is what the stranger's is."""
    _brings_all(dumps, form)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_brings_all_there_is(scratch_dumps: Dumps, form: str) -> None:
    """The same whatever form and wrapper it came in; the wrappers are no engine's matter."""
    _brings_all(scratch_dumps, form)


def _brings_all(dumps: Dumps, form: str) -> None:
    options, wrapper = FORMS[form]
    with loaded(dumps.checkout, dumps.file(*options, wrapper=wrapper)) as carried:
        assert carried.failures == ()
        assert (carried.tables, carried.rows, carried.complete) == (5, 506, True)
        assert text_of(dumps.checkout, LOADED) == dumps.text


@pytest.mark.parametrize("options", [["--compress=0"], []], ids=["plain files", "gzip files"])
def test_a_folder_brings_all_there_is(dumps: Dumps, options: list[str]) -> None:
    """The same of a directory dump."""
    with loaded(dumps.checkout, dumps.directory(*options)) as carried:
        assert (carried.failures, carried.rows) == ((), 506)
        assert text_of(dumps.checkout, LOADED) == dumps.text


def _piped(data: bytes) -> BinaryIO:
    """A stream that cannot seek, as standard input is none that could."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as stream, contextlib.suppress(BrokenPipeError):
            stream.write(data)

    threading.Thread(target=write, daemon=True).start()
    return os.fdopen(reading, "rb")


@pytest.mark.parametrize("options", [["--format=c"], ["--format=t"], []], ids=["custom", "tar", "plain"])
def test_from_standard_input(dumps: Dumps, options: list[str]) -> None:
    """What comes down a pipe is loaded as it comes; progress counts the bytes that came."""
    data = gzip.compress(dumps.bytes(*options))
    with _piped(data) as stream, loaded(dumps.checkout, stream) as carried:
        assert (carried.rows, carried.failures) == (506, ())


@contextmanager
def _departed(checkout: Checkout) -> Iterator[None]:
    """The stranger's roles are not there, as they are not where a dump usually goes."""
    for role in ROLES:
        checkout.query(f'ALTER ROLE "{role}" RENAME TO "{role} has left"')
    try:
        yield
    finally:
        for role in ROLES:
            checkout.query(f'ALTER ROLE "{role} has left" RENAME TO "{role}"')


def test_what_could_not_be_carried_over_is_told(dumps: Dumps) -> None:
    """Owners, grants and default privileges of roles that do not exist here, grouped; what exists here is granted."""
    path = dumps.file("--format=c")
    with _departed(dumps.checkout), loaded(dumps.checkout, path) as carried:
        assert set(carried.owners) == {"app_owner", "postgres", "bob", "Ada L."}
        assert set(carried.roles) == {"reader", "Ada L."}
        assert (carried.defaults, carried.extensions, carried.settings) == (("bob",), (), ())
        assert (carried.versioned, carried.revisions, carried.opened) == (False, (), ())
        told = "\n".join(carried.lines("app_owner", "app"))
        granted = "has_column_privilege('app', 'years', 'what', 'UPDATE')"
        other = "has_table_privilege('app', 'items', 'SELECT')"
        rights = f"SELECT {granted}, {other}"
        assert dumps.checkout.query(rights, database=LOADED) == [(True, False)]
        owned = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname IN ('public', 'Odd schema')"
        assert dumps.checkout.query(owned, database=LOADED) == [("app_owner",)]
    assert "Owned by app_owner now, by bob, postgres, Ada L. where it came from." in told
    assert "Not granted, for these roles do not exist here: reader, Ada L." in told
    assert "Default privileges of bob stay behind" in told
    assert "no version table" in told


def test_the_application_may_use_what_nobody_granted(scratch_dumps: Dumps) -> None:
    """A dump without grants is opened to the application, sequences and odd schemas too, and that is told."""
    with loaded(scratch_dumps.checkout, scratch_dumps.file("--no-privileges")) as carried:
        assert carried.opened == ("Odd schema", "public")
        statement = """INSERT INTO "Odd schema"."Odd; table" (m) VALUES ('sad') RETURNING m::text"""
        assert scratch_dumps.checkout.query(statement, role="app", database=LOADED) == [("sad",)]
        assert scratch_dumps.checkout.query("INSERT INTO items (amount) VALUES (1)", role="app", database=LOADED) == []
        assert "it may read and change all tables of Odd schema, public" in "\n".join(carried.lines("app_owner", "app"))


def test_a_whole_server_with_one_database(scratch_dumps: Dumps) -> None:
    """Of pg_dumpall's output the one database with anything in it is loaded; of several none, and all are named."""
    dumps = scratch_dumps
    whole = dumps.bytes(program="pg_dumpall")
    refused = pytest.raises(DrydockError, match=r"several databases: .*app.*stranger")
    with _piped(whole) as stream, refused, loaded(dumps.checkout, stream):
        pass
    head, *parts = re.split(rb'(?m)^(?=-- Database "|-- PostgreSQL database cluster dump complete)', whole)
    kept = [part for part in parts if not part.startswith((b'-- Database "app', b'-- Database "scratch'))]
    with _piped(head + b"".join(kept)) as stream, loaded(dumps.checkout, stream) as carried:
        assert (carried.rows, carried.failures) == (506, ())
        assert {"CREATE ROLE", "ALTER ROLE", "CREATE DATABASE"} <= set(carried.server_wide)
        assert text_of(dumps.checkout, LOADED) == dumps.text


def test_a_dump_of_this_very_project(ready: Checkout, tmp_path: Path) -> None:
    """pg_dump by hand: revisions and rights come along, drydock's own facts too, and nothing is left to tell."""
    process = ready.environment.engine.run("pg_dump", ["--format=c"], stdout=subprocess.PIPE)
    path = tmp_path / "mine"
    path.write_bytes(process.communicate()[0])
    with loaded(ready, path) as carried:
        assert carried.revisions == tuple(str(row[0]) for row in ready.query("SELECT version_num FROM alembic_version"))
        assert carried.complete
        assert len(list(carried.lines("app_owner", "app"))) == 1
        rights = (
            "SELECT tablename, has_table_privilege('app', oid, 'UPDATE')"
            " FROM pg_tables, to_regclass(tablename) oid WHERE schemaname = 'public' ORDER BY 1"
        )
        assert ready.query(rights, database=LOADED) == ready.query(rights)
        facts = "SELECT name, value FROM drydock.facts ORDER BY 1"
        assert ready.query(facts, database=LOADED) == ready.query(facts)


def test_settings_that_are_unknown_here(scratch: Checkout) -> None:
    """A newer server's settings and a table space that is not here are told, and in nobody's way."""
    script = b"SET transaction_timeout = 0; SET default_tablespace = ssd; SET xmloption = content; CREATE TABLE t ();"
    with loaded(scratch, io.BytesIO(script)) as carried:
        assert carried.settings == ("SET transaction_timeout = 0", "SET default_tablespace = ssd")
        assert carried.complete


def test_strings_of_old_servers(scratch: Checkout) -> None:
    """Once a dump turns standard_conforming_strings off, a backslash escapes, for the server and for the reader."""
    script = rb"SET standard_conforming_strings = off; CREATE TABLE t (a text); INSERT INTO t VALUES ('it\'s; \\ ');"
    with loaded(scratch, io.BytesIO(script)):
        assert scratch.query("SELECT a FROM t", database=LOADED) == [("it's; \\ ",)]


def test_an_encoding_that_psql_is_told(scratch: Checkout) -> None:
    """pg_dump tells psql one before it connects to a database of an odd name: the same as the setting, and no loss."""
    script = b"\\encoding LATIN1\nCREATE TABLE t (a text); INSERT INTO t VALUES ('\xe9');"
    with loaded(scratch, io.BytesIO(script)) as carried:
        assert (carried.commands, carried.settings) == ((), ())
        assert scratch.query("SELECT a FROM t", database=LOADED) == [("\u00e9",)]


def test_progress_and_words(scratch_dumps: Dumps) -> None:
    """Progress counts the bytes of the file as it lies there, up to all of them; the report says what it is."""
    told: list[tuple[str, int, int]] = []
    said: list[str] = []
    path = scratch_dumps.file("--format=c", wrapper="gzip")
    environment = scratch_dumps.checkout.environment
    with postgres.administer(environment) as connection:
        template.drop(connection, LOADED)
        postgres.create_database(environment, connection, LOADED, task="restore")
        loading.load(environment, path, LOADED, said.append, lambda *step: told.append(step))
        template.drop(connection, LOADED)
    size = path.stat().st_size
    assert told[-1] == (path.name, size, size)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert re.fullmatch(rf"{path.name}: custom \(gzip\), made by pg_dump 16\.\d+", said[0])
    assert not list(environment.settings.folder.glob("tmp*"))


SAMPLES = files("opencdms_test_databases") / "schemas"


def test_a_public_database_dumped_by_an_old_server(ready: Checkout) -> None:
    """CliDE, a climate database as pg_dump 8.4 wrote it: all but the functions in C of an extension not had here."""
    with as_file(SAMPLES / "clide" / "clidedb_schema.sql") as path, loaded(ready, path) as carried:
        assert carried.tables == 44
        assert set(carried.owners) == {"postgres", "clideadmin", "clidegui"}
        assert set(carried.roles) == {"clide", "clidegui", "datacomp"}
        plain = ("CREATE TABLE", "CREATE VIEW", "CREATE SEQUENCE", "CREATE INDEX", "ALTER TABLE", "COMMENT ON TABLE")
        assert [failure for failure in carried.failures if failure.statement.startswith(plain)] == []


def test_a_public_database_with_rows(scratch: Checkout, tmp_path: Path) -> None:
    """SURFACE, another one, as SQL of a graphical client: without PostGIS and TimescaleDB it lacks two tables."""
    path = tmp_path / "surface.sql"
    names = ("ddl.sql", "wx_datasource.sql", "wx_country.sql")
    path.write_bytes(b"\n".join((SAMPLES / "surface" / name).read_bytes() for name in names))
    with loaded(scratch, path) as carried:
        assert (carried.tables, carried.extensions) == (79, ("postgis", "timescaledb"))
        counted = "SELECT (SELECT count(*) FROM wx_country), (SELECT count(*) FROM wx_datasource)"
        assert scratch.query(counted, database=LOADED) == [(310, carried.rows - 310)]


def test_a_public_database_of_another_kind(scratch: Checkout) -> None:
    """Climsoft, eleven megabytes of MariaDB's SQL, is recognised as such."""
    path = SAMPLES / "climsoft" / "v4" / "v4.1.1" / "climsoft_v4_all.sql"
    with pytest.raises(DrydockError, match="MySQL or MariaDB"), as_file(path) as file, loaded(scratch, file):
        pass


def test_the_command_takes_a_file(scratch: Checkout, tmp_path: Path) -> None:
    """`invoke restore FILE` replaces the application's data by the dump's, tells what it was, and can be undone."""
    process = scratch.environment.engine.run("pg_dump", ["--format=c"], stdout=subprocess.PIPE)
    path = tmp_path / "from a colleague.dump.gz"
    path.write_bytes(gzip.compress(process.communicate()[0]))
    count = "SELECT count(*) FROM messages"
    before = scratch.query(count)
    scratch.query("DELETE FROM messages")
    told = scratch.run("restore", str(path), "--yes").stdout
    assert "custom (gzip), made by pg_dump 16" in told
    assert scratch.query(count) == before
    scratch.run("restore.undo")
    assert scratch.query(count) == [(0,)]
    scratch.run("restore.undo")


def test_single_tables_of_a_dump_are_refused(scratch: Checkout, tmp_path: Path) -> None:
    """`--table` is for backups: a dump that is given with it does not replace everything instead."""
    path = tmp_path / "tables.sql"
    path.write_text("CREATE TABLE only_this (id int);")
    for source in (str(path), "-"):
        told = scratch.run("restore", source, "--table", "only_this", "--yes", code=2).stderr
        assert "--table takes single tables from a backup of drydock's, not from a dump" in told
        assert f"invoke restore {source} --into NAME" in told
    assert scratch.query("SELECT count(*) > 0 FROM messages") == [(True,)]


def test_what_is_lost_is_asked_about_first(scratch: Checkout, tmp_path: Path) -> None:
    """Without an answer nothing is replaced where something could not be carried over, and it is shown what."""
    path = tmp_path / "partly.sql"
    path.write_text("CREATE TABLE t (); CREATE TABLE u (a no_such_type);")
    error = scratch.run("restore", str(path), code=3).stderr
    assert 'CREATE TABLE u: type "no_such_type" does not exist' in error
    assert "Not everything could be carried over" in error
    assert scratch.query("SELECT count(*) > 0 FROM messages") == [(True,)]
    result = scratch.json("restore", str(path), "--yes", "--into", "partly", code=None)
    assert result.get("carried", {}).get("failures"), result
    scratch.query("DROP DATABASE partly")
