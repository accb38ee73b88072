from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import re
import shutil
import subprocess
import threading
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard

from drydock import postgres, template
from drydock.backup.foreign import loading
from drydock.backup.foreign.carried import Failure
from drydock.engine import wheels
from drydock.errors import DrydockError, NotReadyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from drydock.backup.foreign.carried import Carried
    from tests.checkout import Checkout

STRANGER, LOADED = "stranger", "loaded"
ROLES = ("bob", "Ada L.", "reader")
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}
# Something of everything that pg_dump writes in a way of its own.
MODEL = r"""
CREATE SCHEMA "Odd schema" AUTHORIZATION bob;
CREATE TYPE mood AS ENUM ('sad', 'it''s ok');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE "Odd schema"."Odd; table" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "a;b" text, raw bytea, m mood);
INSERT INTO "Odd schema"."Odd; table" ("a;b", raw, m)
  SELECT E'line\nbreak\t\\. \\N ''quoted'' $$;$$ -- /* ' || n, decode(md5(n::text), 'hex'), 'sad'
  FROM generate_series(1, 300) n;
INSERT INTO "Odd schema"."Odd; table" ("a;b") VALUES (E'\\.'), (E'\n\\.\n'), (NULL), ('');
CREATE TABLE items (
  id serial PRIMARY KEY, amount positive, embedding vector(3), twice int GENERATED ALWAYS AS (id * 2) STORED
);
INSERT INTO items (amount, embedding) SELECT n, ARRAY[n, n + 1, n + 2]::real[]::vector FROM generate_series(1, 200) n;
CREATE INDEX items_hnsw ON items USING hnsw (embedding vector_l2_ops);
CREATE TABLE years (y int, what text) PARTITION BY RANGE (y);
CREATE TABLE years_1 PARTITION OF years FOR VALUES FROM (0) TO (2000);
CREATE TABLE years_2 PARTITION OF years DEFAULT;
INSERT INTO years VALUES (1999, 'old'), (2026, 'new');
CREATE VIEW cheap AS SELECT id FROM items WHERE amount < 10;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM items;
CREATE FUNCTION body() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RETURN new; END; $f$;
CREATE TRIGGER touch BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION touched();
CREATE RULE noted AS ON DELETE TO years DO ALSO (SELECT 1; SELECT 2);
ALTER TABLE items ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY everyone ON items USING (id > 0);
CREATE PUBLICATION news FOR TABLE years;
COMMENT ON TABLE items IS 'it''s; a comment';
SELECT lo_from_bytea(4711, 'a large object');
ALTER TABLE items OWNER TO bob;
ALTER TABLE years OWNER TO "Ada L.";
ALTER TABLE "Odd schema"."Odd; table" OWNER TO bob;
GRANT SELECT ON items TO reader;
GRANT UPDATE (what) ON years TO "Ada L.", app;
ALTER DEFAULT PRIVILEGES FOR ROLE bob IN SCHEMA "Odd schema" GRANT SELECT ON TABLES TO reader;
ALTER DATABASE stranger SET search_path TO public;
"""


class Dumps:
    """Dumps of a stranger's database, made by the server's own programs when first asked for."""

    def __init__(self, checkout: Checkout, folder: Path) -> None:
        self.checkout = checkout
        self.folder = folder
        self.made: dict[tuple[str, ...], bytes] = {}
        self.text = _text(checkout, STRANGER)

    def bytes(self, *options: str, program: str = "pg_dump") -> bytes:
        """A dump of one of the forms that are a file."""
        key = (program, *options)
        if key not in self.made:
            target = [] if program == "pg_dumpall" else ["--dbname", STRANGER]
            process = self.checkout.environment.engine.run(program, [*target, *options], stdout=subprocess.PIPE)
            out, err = process.communicate()
            assert process.returncode == 0, err
            self.made[key] = out
        return self.made[key]

    def file(self, *options: str, wrapper: str = "", program: str = "pg_dump") -> Path:
        """The same in a file, as a whole compressed."""
        path = self.folder / "a dump's file"
        path.write_bytes(PACKERS[wrapper](self.bytes(*options, program=program)))
        return path

    def directory(self, *options: str) -> Path:
        """A dump of the form that is a folder."""
        path = self.folder / ("-".join(["folder", *options]))
        if not path.exists():
            arguments = ["--dbname", STRANGER, "--format=d", "--jobs=2", f"--file={path.name}", *options]
            process = self.checkout.environment.engine.run(
                "pg_dump", arguments, folder=self.folder, stdout=subprocess.PIPE
            )
            _, err = process.communicate()
            assert process.returncode == 0, err
        return path


@pytest.fixture(scope="module")
def dumps(ready: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dumps]:
    """A stranger's database on the shared checkout. Its owners exist only while it is dumped."""
    yield from _stranger(ready, tmp_path_factory.mktemp("dumps"))


@pytest.fixture(scope="module")
def scratch_dumps(scratch: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dumps]:
    """The same on whichever engine is quicker."""
    yield from _stranger(scratch, tmp_path_factory.mktemp("dumps"))


def _stranger(checkout: Checkout, folder: Path) -> Iterator[Dumps]:
    environment = checkout.environment
    with postgres.administer(environment) as connection:
        template.drop(connection, STRANGER)
        connection.execute(f"CREATE DATABASE {STRANGER} TEMPLATE template0")
        for role in ROLES:
            connection.execute(f'CREATE ROLE "{role}"')
    with postgres.administer(environment, STRANGER) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("ALTER SCHEMA public OWNER TO app_owner")
        connection.execute(MODEL.encode())
    yield Dumps(checkout, folder)
    with postgres.administer(environment, STRANGER) as connection:
        for role in ROLES:
            connection.execute(f'DROP OWNED BY "{role}" CASCADE')
    with postgres.administer(environment) as connection:
        template.drop(connection, STRANGER)
        for role in ROLES:
            connection.execute(f'DROP ROLE IF EXISTS "{role}"')


@contextmanager
def loaded(
    checkout: Checkout, source: Path | BinaryIO, progress: Callable[[str, int, int], None] = lambda *_: None
) -> Iterator[Carried]:
    """What loading came to, while the loaded database exists."""
    environment = checkout.environment
    with postgres.administer(environment) as connection:
        template.drop(connection, LOADED)
        postgres.create_database(environment, connection, LOADED, task="restore")
    before = _outside(checkout)
    try:
        yield loading.load(environment, source, LOADED, lambda _: None, progress)
    finally:
        assert _outside(checkout) == before
        with postgres.administer(environment) as connection:
            template.drop(connection, LOADED)


def _outside(checkout: Checkout) -> list[object]:
    """What a dump must not be able to change: roles, databases, settings, the application's data."""
    return [
        checkout.query("SELECT rolname, rolsuper, rolcreaterole, rolcanlogin FROM pg_roles ORDER BY 1"),
        checkout.query("SELECT roleid::regrole, member::regrole FROM pg_auth_members ORDER BY 1, 2"),
        checkout.query("SELECT datname, datdba::regrole, datacl::text FROM pg_database ORDER BY 1"),
        checkout.query("SELECT name, setting FROM pg_file_settings ORDER BY 1"),
        checkout.query("SELECT count(*), max(created_at) FROM messages"),
    ]


def _text(checkout: Checkout, database: str) -> str:
    """All of a database but owners and grants, as pg_dump tells it."""
    options = ["--no-owner", "--no-privileges", "--exclude-schema=drydock", "--dbname", database]
    process = checkout.environment.engine.run("pg_dump", options, stdout=subprocess.PIPE)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return re.sub(r"(?m)^\\(un)?restrict .*\n", "", out.decode())


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
        assert _text(dumps.checkout, LOADED) == dumps.text


@pytest.mark.parametrize("options", [["--compress=0"], []], ids=["plain files", "gzip files"])
def test_a_folder_brings_all_there_is(dumps: Dumps, options: list[str]) -> None:
    """The same of a directory dump."""
    with loaded(dumps.checkout, dumps.directory(*options)) as carried:
        assert (carried.failures, carried.rows) == ((), 506)
        assert _text(dumps.checkout, LOADED) == dumps.text


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
        assert _text(dumps.checkout, LOADED) == dumps.text


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


NASTY = r"""
\! touch @/executed
\copy t from program 'touch @/executed'
SELECT 'CREATE TABLE executed ()' \gexec
CREATE ROLE mallory SUPERUSER LOGIN;
ALTER ROLE app_owner SUPERUSER;
ALTER SYSTEM SET log_min_messages = debug1;
DROP DATABASE app;
CREATE DATABASE mallory;
SET ROLE app_owner;
SET SESSION AUTHORIZATION postgres;
RESET ROLE;
DO $$ BEGIN EXECUTE 'ALTER ROLE ' || quote_ident(current_user) || ' SUPERUSER'; END $$;
DO $$ BEGIN EXECUTE 'SET ROLE postgres'; END $$;
DO $$ BEGIN EXECUTE 'SET SESSION AUTHORIZATION app_owner'; END $$;
DO $$ BEGIN EXECUTE 'CREATE ROLE mallory SUPERUSER'; END $$;
DO $$ BEGIN EXECUTE 'GRANT pg_execute_server_program TO ' || quote_ident(current_user); END $$;
DO $$ BEGIN EXECUTE 'DROP ' || 'DATABASE app'; END $$;
DO $$ BEGIN EXECUTE 'ALTER ' || 'DATABASE app RENAME TO gone'; END $$;
DO $$ BEGIN EXECUTE 'ALTER SYSTEM SET log_min_messages = debug1'; END $$;
CREATE TABLE t (a int);
COPY t TO PROGRAM 'touch @/executed';
COPY t FROM PROGRAM 'echo 1';
COPY t FROM '/etc/passwd';
SELECT pg_read_file('/etc/passwd');
SELECT lo_import('/etc/passwd');
CREATE FUNCTION c(cstring) RETURNS int LANGUAGE c AS '$libdir/vector', 'x';
CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION c();
CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p;
CREATE PUBLICATION all_of_it FOR ALL TABLES;
DELETE FROM pg_authid;
UPDATE pg_database SET datname = 'x' WHERE datname = 'app';
SELECT rolpassword FROM pg_authid;
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres' AND pid <> pg_backend_pid();
INSERT INTO t VALUES (1), (2);
"""


def test_a_dump_reaches_nothing_but_its_own_database(ready: Checkout, tmp_path: Path) -> None:
    """Commands of psql are not executed; what concerns the server is skipped, or refused by the server where hidden."""
    path = tmp_path / "nasty.sql"
    path.write_text(NASTY.replace("@", str(tmp_path)))
    with loaded(ready, path) as carried:
        assert ready.query("SELECT count(*) FROM t", database=LOADED) == [(2,)]
    assert len(carried.commands) == 3
    assert set(carried.server_wide) == {"CREATE ROLE", "ALTER ROLE", "ALTER SYSTEM", "DROP DATABASE", "CREATE DATABASE"}
    refusals = re.compile(
        "permission denied|must be superuser|must be owner of database|cannot be executed from a function"
    )
    assert [failure for failure in carried.failures if not refusals.search(failure.reason)] == []
    assert len(carried.failures) == 21
    assert not (tmp_path / "executed").exists()


# Each would run with the superuser's rights if it were called by what loads the dump, or while an extension is made.
TRAPS = """
CREATE FUNCTION public.trap(oid, regrole) RETURNS bool LANGUAGE plpgsql AS $$
  BEGIN EXECUTE 'CREATE ROLE mallory SUPERUSER'; RETURN true; END $$;
CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regrole, FUNCTION = public.trap);
CREATE FUNCTION public.trap(name, unknown) RETURNS bool LANGUAGE plpgsql AS $$
  BEGIN EXECUTE 'CREATE ROLE mallory SUPERUSER'; RETURN true; END $$;
CREATE FUNCTION public.version_num() RETURNS text LANGUAGE plpgsql AS $$
  BEGIN EXECUTE 'CREATE ROLE mallory SUPERUSER'; RETURN 'x'; END $$;
CREATE VIEW public.alembic_version AS SELECT public.version_num();
CREATE TABLE t ();
"""


def test_nothing_of_a_dump_runs_with_our_rights(ready: Checkout, tmp_path: Path) -> None:
    """Operators that fit better than the catalogue's, a version table that calls a function: neither is fallen for."""
    path = tmp_path / "traps.sql"
    path.write_text(TRAPS)
    with loaded(ready, path) as carried:
        assert (carried.tables, carried.versioned) == (1, False)


def test_extensions_are_made_by_the_superuser_only_before_anything_else(scratch: Checkout) -> None:
    """One named at the beginning is put where the dump wants it; one named after the stranger's functions is not."""
    first = (
        b"CREATE SCHEMA ext; CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA ext; CREATE TABLE t (v ext.vector(2));"
    )
    with loaded(scratch, io.BytesIO(first)) as carried:
        assert carried.complete
        assert scratch.query(
            "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'", database=LOADED
        ) == [("ext",)]
    late = (
        b"DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE FUNCTION f() RETURNS int RETURN 1;"
        b"CREATE EXTENSION vector; CREATE TABLE t ();"
    )
    with loaded(scratch, io.BytesIO(late)) as carried:
        assert carried.extensions == ("vector",)
    with loaded(
        scratch, io.BytesIO(b"CREATE EXTENSION no_such_thing; CREATE TABLE t (a no_such_type); CREATE TABLE u ();")
    ) as carried:
        assert (carried.extensions, carried.complete) == (("no_such_thing",), False)
        assert carried.failures == (Failure("CREATE TABLE t", 'type "no_such_type" does not exist'),)


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


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (b"SET client_encoding = 'SJIS'; CREATE TABLE t ();", "written in SJIS"),
        (b"\\connect one\nCREATE TABLE t ();\n\\connect two\nCREATE TABLE t ();", "several databases: one, two"),
        (
            b"COPY public.t (a) FROM stdin;\n1\n\\.\nINSERT INTO t VALUES (1);",
            "Nothing of the dump could be created.*COPY",
        ),
        (b"SET statement_timeout = 0;", "no table in it"),
        (b"CREATE TABLE t (a int); COPY t FROM stdin;\n1\n", "inside the rows"),
    ],
    ids=["encoding", "two databases", "rows alone", "nothing", "cut off"],
)
def test_scripts_that_cannot_be_loaded(scratch: Checkout, script: bytes, words: str) -> None:
    """Each is refused in a sentence."""
    with pytest.raises(DrydockError, match=words), loaded(scratch, io.BytesIO(script)):
        pass


@pytest.mark.usefixtures("embedded_engine")
def test_a_dump_of_a_newer_postgres(scratch_dumps: Dumps, tmp_path: Path) -> None:
    """The archive of a newer pg_dump is refused with what to do; following that advice works."""
    newer = wheels.postgres_home().with_name("pginstall18") / "bin" / "pg_dump"
    environment = scratch_dumps.checkout.environment
    url = environment.database_url(environment.superuser, STRANGER)
    for form in ("c", "p"):
        with (tmp_path / form).open("wb") as stream:
            subprocess.run([newer, f"--format={form}", url], stdout=stream, check=True)
    with pytest.raises(DrydockError, match="newer than 16") as caught, loaded(scratch_dumps.checkout, tmp_path / "c"):
        pass
    assert "pg_restore -f" in caught.value.hint
    with loaded(scratch_dumps.checkout, tmp_path / "p") as carried:
        assert (carried.rows, carried.failures) == (506, ())
        assert carried.settings == ("SET transaction_timeout = 0",)
        assert _text(scratch_dumps.checkout, LOADED) == scratch_dumps.text


@pytest.mark.parametrize("options", [["--format=c"], ["--format=t"], [], ["--format=c", "--compress=0"]])
def test_a_dump_that_was_cut_off_is_never_taken_for_whole(scratch_dumps: Dumps, options: list[str]) -> None:
    """Wherever it ends, it is damaged; a tar archive's own end of zeros may be missing."""
    whole = scratch_dumps.bytes(*options)
    needed = len(whole.rstrip(b"\0")) if options == ["--format=t"] else len(whole.rstrip()) - 10
    for part in (1, 50, needed // 10, needed // 2, needed * 9 // 10, needed - 100):
        with (
            pytest.raises(DrydockError, match=r"damaged|no SQL|binary"),
            loaded(scratch_dumps.checkout, io.BytesIO(whole[:part])),
        ):
            pass


@pytest.mark.parametrize("wrapper", ["", "gzip", "xz", "bzip2", "zstd"])
def test_altered_bytes_are_caught_or_do_no_harm(scratch_dumps: Dumps, wrapper: str) -> None:
    """Flipped bits end in a sentence; where nothing guards a dump's bytes, it may load with other content."""
    chance = random.Random(wrapper)  # noqa: S311 - the same flips each time
    data = PACKERS[wrapper](scratch_dumps.bytes("--format=c"))
    caught = 0
    for _ in range(5):
        at = chance.randrange(len(data))
        altered = data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
        with contextlib.suppress(DrydockError), loaded(scratch_dumps.checkout, io.BytesIO(altered)):
            continue
        caught += 1
    assert caught >= (0 if wrapper == "" else 4), caught


def test_a_damaged_folder(scratch_dumps: Dumps, tmp_path: Path) -> None:
    """A table's file that is missing, cut off or altered is found, and named where it can be."""
    for damage in (Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])):
        folder = tmp_path / "copy"
        shutil.copytree(scratch_dumps.directory(), folder)
        damage(max(folder.glob("*.dat.gz"), key=lambda path: path.stat().st_size))
        with pytest.raises(DrydockError, match="damaged: pg_restore says"), loaded(scratch_dumps.checkout, folder):
            pass
        shutil.rmtree(folder)


class Stop(BaseException):
    """What Ctrl-C is like."""


@pytest.mark.parametrize("options", [["--format=c"], []], ids=["custom", "plain"])
def test_stopping_in_between_leaves_no_role(scratch_dumps: Dumps, options: list[str]) -> None:
    """An interruption and a lost connection end the load; the guest role is gone, as `loaded` compares."""
    checkout = scratch_dumps.checkout

    def stop(_name: str, _done: int, _total: int) -> None:
        raise Stop

    def cut(_name: str, _done: int, _total: int) -> None:
        checkout.query("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename LIKE '%guest'")

    for progress, error in ((stop, Stop), (cut, NotReadyError)):
        with pytest.raises(error), loaded(checkout, scratch_dumps.file(*options), progress):
            pass


def test_a_role_left_by_a_killed_load_is_used_again(scratch_dumps: Dumps) -> None:
    """The next load takes the role over and removes it; one that still owns things elsewhere cannot log in any more."""
    checkout = scratch_dumps.checkout
    checkout.query("CREATE ROLE app__guest LOGIN")
    with postgres.administer(checkout.environment, "postgres") as connection:
        connection.execute("CREATE SCHEMA left_behind AUTHORIZATION app__guest")
    environment = checkout.environment
    with postgres.administer(environment) as connection:
        template.drop(connection, LOADED)
        postgres.create_database(environment, connection, LOADED, task="restore")
    try:
        loading.load(environment, scratch_dumps.file(), LOADED, lambda _: None, lambda *_: None)
        assert checkout.query("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app__guest'") == [(False,)]
    finally:
        with postgres.administer(environment, "postgres") as connection:
            connection.execute("DROP SCHEMA left_behind")
            template.drop(connection, LOADED)
            connection.execute("DROP ROLE app__guest")


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


@pytest.mark.parametrize("name", ["missing", "unreadable", "ours"])
def test_files_that_cannot_be_taken(scratch: Checkout, tmp_path: Path, name: str) -> None:
    """A path without a file, one that may not be read, and a backup of drydock's own."""
    path = tmp_path / name
    if name == "unreadable":
        path.symlink_to(path)
    elif name == "ours":
        path.mkdir()
        (path / "manifest.json").write_text("{}")
    words = {"missing": "No such file", "unreadable": "Too many levels", "ours": "drydock's own"}[name]
    with pytest.raises(DrydockError, match=words), loaded(scratch, path):
        pass


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


def test_a_version_table_that_is_a_trap_is_not_run_by_the_command(scratch: Checkout, tmp_path: Path) -> None:
    """Nothing is replaced, and what the trap would have done as the superuser was not done."""
    path = tmp_path / "traps.sql"
    path.write_text(TRAPS.replace("version_num();", "version_num() AS version_num;"))
    error = scratch.run("restore", str(path), "--yes", code=1).stderr
    assert "alembic_version is not a version table of Alembic: permission denied to create role" in error
    assert scratch.query("SELECT FROM pg_roles WHERE rolname = 'mallory'") == []
    assert scratch.query("SELECT count(*) > 0 FROM messages") == [(True,)]


def test_a_path_without_a_file_is_no_name_of_a_backup(scratch: Checkout, tmp_path: Path) -> None:
    """What looks like a path is answered as one."""
    assert (
        f"There is no file or folder {tmp_path}/gone.dump."
        in scratch.run("restore", f"{tmp_path}/gone.dump", code=1).stderr
    )


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
