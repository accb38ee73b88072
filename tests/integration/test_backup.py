"""backup, backup.list, backup.verify, restore and restore.undo as people type them, on both engines."""

from __future__ import annotations

import json
import random
import shutil
import stat
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from drydock import postgres
from drydock.backup import catalogue, load
from drydock.backup import manifest as manifests
from drydock.backup.encryption import OPEN
from drydock.errors import DrydockError
from tests.backups import prove

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checkout import Checkout

EARLIER = Path(__file__).parents[1] / "data" / "backups"
COUNT = "SELECT count(*) FROM messages"
REVISION = "SELECT version_num FROM alembic_version"


@pytest.fixture(scope="module")
def shop(ready: Checkout) -> Iterator[Checkout]:
    """The shared checkout; its data is put back at the end."""
    ready.run("reset")
    yield ready
    shutil.rmtree(ready.root / "backups" / "dumps", ignore_errors=True)
    ready.run("reset")


@pytest.fixture(scope="module")
def seeded(shop: Checkout) -> str:
    """The name of a proven backup of the seeded state, Redis included."""
    shop.redis("SET", "kept", "yes")
    shop.redis("SET", "ending", "soon", "EX", "1000")
    made = shop.json("backup", "--label", "seeded", "--redis")
    return str(made["name"])


def folder(shop: Checkout, name: str) -> Path:
    return shop.root / "backups" / "dumps" / name


def test_a_backup_is_proven_in_the_same_run(shop: Checkout, seeded: str) -> None:
    """It is listed with what it holds and where it comes from; its files are its owner's alone."""
    (listed,) = [item for item in shop.json("backup.list")["backups"] if item["name"] == seeded]
    assert listed["proven"]
    assert (listed["redis_keys"], listed["label"]) == (2, "seeded")
    held = catalogue.at(folder(shop, seeded)).manifest
    assert held is not None
    assert (held.tables["public.messages"].rows, held.rows) == (1194, listed["rows"])
    assert listed["postgres"].startswith("16.")
    assert "vector" in listed["extensions"]
    assert [(revision,) for revision in listed["revisions"]] == shop.query(REVISION)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder(shop, seeded).rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert "proven" in shop.run("backup.list").stdout
    assert b"password" not in (folder(shop, seeded) / "manifest.json").read_bytes().lower()


def test_restore_brings_back_what_was_deleted_and_can_be_undone(shop: Checkout, seeded: str) -> None:
    """By its label, by a beginning of its name, and Redis with it; restore.undo goes back and forth."""
    shop.query("DELETE FROM messages; DELETE FROM submissions")
    shop.redis("FLUSHALL")
    told = shop.run("restore", "seeded")
    assert "undo: invoke undo" in told.stdout
    assert shop.query(COUNT) == [(1194,)]
    assert shop.redis("GET", "kept") == "yes"
    assert 0 < int(shop.redis("TTL", "ending")) <= 1000
    shop.run("restore.undo")
    assert shop.query(COUNT) == [(0,)]
    shop.run("restore", seeded[:15])
    assert shop.query(COUNT) == [(1194,)]
    assert shop.json("status")["status"] == "pass"


def test_tenants_stay_apart_after_a_restore(shop: Checkout, seeded: str) -> None:
    """The application's role sees nobody's rows outside of a tenant's context, and may not change the schema."""
    shop.run("restore", seeded)
    assert shop.query(COUNT, role="app") == [(0,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        shop.query("DROP TABLE messages", role="app")


def test_open_sessions_are_ended_and_come_back_at_once(shop: Checkout, seeded: str) -> None:
    """A session inside a transaction, holding a lock, does not hold a restore up; it can connect again at once."""
    environment = shop.environment
    with postgres.connect(environment, environment.app, autocommit=False) as session:
        session.execute("LOCK TABLE messages IN SHARE MODE")
        shop.run("restore", seeded)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert shop.query("SELECT 1", role="app") == [(1,)]


def test_a_backup_is_of_one_moment(shop: Checkout) -> None:
    """While a writer moves credit from row to row, and a sequence goes on, the backup is proven and nothing is lost."""
    shop.query("CREATE TABLE purse (id bigserial PRIMARY KEY, credit bigint NOT NULL)", role="owner")
    shop.query("INSERT INTO purse (credit) SELECT 10 FROM generate_series(1, 2000)", role="owner")
    over = threading.Event()

    def move() -> None:
        environment = shop.environment
        with postgres.connect(environment, environment.owner) as session:
            while not over.is_set():
                with session.transaction():
                    session.execute("UPDATE purse SET credit = credit - 1 WHERE id = 1")
                    session.execute("UPDATE purse SET credit = credit + 1 WHERE id = 2000")
                session.execute("INSERT INTO purse (credit) VALUES (0)")

    writer = threading.Thread(target=move)
    writer.start()
    try:
        made = shop.json("backup", "--label", "moving")
    finally:
        over.set()
        writer.join()
    assert made["proven"]
    shop.run("restore", "moving", "--into", "moving")
    assert shop.query("SELECT sum(credit) FROM purse") == [(20000,)]
    assert shop.query("SELECT sum(credit) FROM purse", database="moving") == [(20000,)]
    assert shop.query("SELECT nextval('purse_id_seq') > max(id) FROM purse", database="moving") == [(True,)]
    assert "There is a database moving already" in shop.run("restore", "moving", "--into", "moving", code=3).stderr
    shop.query("DROP DATABASE moving")
    shop.query("DROP TABLE purse", role="owner")


def test_a_table_comes_with_what_it_refers_to(shop: Checkout) -> None:
    """--table takes the rows of the tables its foreign keys lead to, and the whole schema; it is proven like any."""
    made = shop.json("backup", "--table", "conversations", "--label", "part")
    assert set(made["tables_only"]) == {
        f"public.{name}" for name in ("conversations", "businesses", "users", "organizations")
    }
    assert made["proven"]
    assert "Did you mean messages?" in shop.run("backup", "--table", "mesages", code=1).stderr


@pytest.mark.parametrize("other", ["--schema-only", "--redis"])
def test_single_tables_go_with_nothing_that_would_not_come_back(shop: Checkout, other: str) -> None:
    """A restore of single tables brings rows of theirs and leaves Redis alone: exit code 2, and no backup is made."""
    before = shop.json("backup.list")
    told = shop.run("backup", "--table", "users", other, code=2).stderr
    assert f"--table and {other} cannot be had together" in told
    assert shop.json("backup.list") == before


def test_a_schema_only_backup_has_no_rows(shop: Checkout) -> None:
    """It is proven too and restores to empty tables at the same revision: over rows with a yes, never as `latest`."""
    whole = shop.json("backup", "--no-verify")["name"]
    made = shop.json("backup", "--schema-only", "--label", "schema")
    assert (made["rows"], made["schema_only"]) == (1, True)
    assert made["proven"]
    shop.run("restore", "schema", "--into", "bare")
    assert shop.query(COUNT, database="bare") == [(0,)]
    shop.query("DROP DATABASE bare")
    shop.query("UPDATE users SET name = 'Before'")
    assert shop.json("restore")["source"] == whole
    assert shop.query("SELECT count(*) FROM users WHERE name = 'Before'") == [(0,)]
    assert "is of the schema alone" in shop.run("restore", "schema", code=3).stderr
    assert shop.query(COUNT) == [(1194,)]
    shop.run("restore", "schema", "--yes")
    assert shop.query(COUNT) == [(0,)]
    shop.run("restore.undo")


def test_single_tables_come_back(shop: Checkout, seeded: str) -> None:
    """--table puts back the rows of one table and leaves every other as it is now; it can be undone."""
    shop.run("restore", seeded)
    shop.query("UPDATE users SET name = 'Changed later'; DELETE FROM messages")
    shop.run("restore", seeded, "--table", "messages")
    assert shop.query(COUNT) == [(1194,)]
    assert shop.query("SELECT DISTINCT name FROM users") == [("Changed later",)]
    shop.run("restore.undo")
    assert shop.query(COUNT) == [(0,)]


def test_a_table_that_does_not_fit_the_others_is_refused(shop: Checkout, seeded: str) -> None:
    """Rows that would refer to rows gone meanwhile are counted, and nothing is changed."""
    shop.run("restore", seeded)
    shop.query("DELETE FROM conversations")
    told = shop.run("restore", seeded, "--table", "messages", code=1).stderr
    assert "1,194 rows of messages would refer to no row of conversations" in told
    assert shop.query(COUNT) == [(0,)]
    assert shop.query("SELECT 1", role="app") == [(1,)]
    shop.run("restore", seeded, "--table", "messages", "--table", "conversations")
    assert shop.query(COUNT) == [(1194,)]


def test_a_backup_that_is_older_is_migrated(shop: Checkout) -> None:
    """At an older revision it asks, without an answer it changes nothing, and with --yes it is migrated."""
    shop.run("migrate.down", "--yes")
    older = shop.json("backup", "--label", "older")
    shop.run("migrate")
    told = shop.run("restore", "older", code=3).stderr
    assert "older than the code here" in told
    done = shop.json("restore", "older", "--yes")
    assert len(done["migrated"]) == 1
    assert shop.query(REVISION) == [(done["migrated"][0],)] != [(older["revisions"][0],)]
    shop.run("migrate.check")


def test_anothers_backup_is_asked_about(shop: Checkout, seeded: str, tmp_path: Path) -> None:
    """A backup of a project with another name, given by its folder, needs a yes."""
    entry = catalogue.at(folder(shop, seeded))
    assert entry.manifest is not None
    other = tmp_path / 'from a friend\'s "disk"'
    shutil.copytree(entry.path, other)
    manifests.write(replace(entry.manifest, project="warehouse", checkout="another"), other)
    assert "is a backup of the project warehouse" in shop.run("restore", str(other), code=3).stderr
    shop.run("restore", str(other), "--yes")
    assert shop.query(COUNT) == [(1194,)]


@pytest.mark.parametrize("form", sorted(EARLIER.iterdir()), ids=lambda path: path.name)
def test_backups_of_every_earlier_form_restore(shop: Checkout, form: Path) -> None:
    """A backup that an earlier drydock made is read, compared and migrated today."""
    shop.run("restore", str(form), "--into", "earlier", "--yes")
    assert shop.query("SELECT count(*) FROM organizations", database="earlier") == [(3,)]
    assert shop.query(REVISION, database="earlier") == shop.query(REVISION)
    shop.query("DROP DATABASE earlier")


def test_nothing_is_restored_in_production(shop: Checkout, seeded: str) -> None:
    """APP_ENV=production refuses restore, and allows a backup."""
    assert "production" in shop.run("restore", seeded, code=3, APP_ENV="production").stderr
    shop.run("backup", "--no-verify", APP_ENV="production")


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("seedet", "Did you mean seeded?"),
        ("2", "fits"),
        ("no-such-thing", "There is no backup called 'no-such-thing'"),
        ("./nowhere.dump", "There is no backup called './nowhere.dump'"),
    ],
)
def test_a_wrong_name_is_a_sentence(shop: Checkout, seeded: str, wanted: str, told: str) -> None:
    """An unknown name says what is near, an ambiguous beginning what fits."""
    if not (folder(shop, seeded).parent / "20200101T000000Z").exists():
        shutil.copytree(folder(shop, seeded), folder(shop, seeded).parent / "20200101T000000Z")
    assert told in shop.run("restore", wanted, code=1).stderr


def test_two_backups_at_once_both_end_well(shop: Checkout) -> None:
    """The second waits for the first one's dump; both are listed, with names and numbers of their own."""
    before = len(shop.json("backup.list")["backups"])
    both = [shop.start("backup", "--no-verify") for _ in range(2)]
    assert [process.communicate(timeout=120) and process.returncode for process in both] == [0, 0]
    listed = shop.json("backup.list")["backups"]
    assert len(listed) == before + 2
    assert all(item["proven"] is None for item in listed[:2])


def test_unproven_ones_can_be_proven_later(shop: Checkout, seeded: str) -> None:
    """backup.verify proves the latest, and says how long a restore will take."""
    assert seeded
    assert "proven; a restore takes about" in shop.run("backup.verify").stdout
    assert shop.json("backup.list")["backups"][0]["proven"]


@pytest.fixture
def own(checkout: Checkout) -> Checkout:
    """A running checkout for keys: the shared one's attendant would encrypt its archive to them, for those after."""
    checkout.run("up")
    return checkout


def keygen(own: Checkout, path: Path) -> tuple[str, str]:
    """A new pair of keys: the public one, and the file of the private one."""
    made = own.json("backup.keygen", "--path", str(path))
    return str(made["recipient"]), str(made["identity"])


def test_making_an_encrypted_backup_needs_no_secret(own: Checkout, tmp_path: Path) -> None:
    """Without BACKUP_IDENTITY it is made, and said to be unproven; whoever has the key proves it."""
    public, private = keygen(own, tmp_path / "key.age")
    told = own.run("backup", "--label", "sealed", BACKUP_RECIPIENTS=public)
    assert "unproven, for BACKUP_IDENTITY is not set" in told.stderr
    assert "unproven: invoke backup.verify " in told.stdout
    assert own.json("backup", BACKUP_RECIPIENTS=public)["proven"] is None
    own.run("backup.verify", "sealed", BACKUP_IDENTITY=private)


def test_a_backup_that_cannot_be_proven_is_named(own: Checkout, tmp_path: Path) -> None:
    """With somebody else's key: the error says that it is made, what it is called, and how to prove it."""
    public, other = keygen(own, tmp_path / "ours.age")[0], keygen(own, tmp_path / "theirs.age")[1]
    failed = own.json("backup", "--label", "foreign", code=1, BACKUP_RECIPIENTS=public, BACKUP_IDENTITY=other)
    assert failed["error"].startswith(f"{failed['name']} is made and unproven: ")
    assert "was not encrypted to the key in" in failed["error"]
    assert failed["hint"] == f"invoke backup.verify {failed['name']}"
    assert failed["path"] == str(folder(own, failed["name"]))
    (listed,) = [item for item in own.json("backup.list")["backups"] if item["name"] == failed["name"]]
    assert (listed["label"], listed["proven"]) == ("foreign", None)


def test_all_are_verified_and_told_in_one_document(shop: Checkout, seeded: str, tmp_path: Path) -> None:
    """After a damaged one it goes on; --json says what is proven, what is not and why; the exit code is a failure's."""
    for name in ("cut", "gone", "whole"):
        copy = tmp_path / "dumps" / f"20200202T000000Z-{name}"
        shutil.copytree(folder(shop, seeded), copy)
        manifests.write(replace(manifests.read(copy), name=copy.name, label=name), copy)
    path = next((tmp_path / "dumps" / "20200202T000000Z-cut").glob("dump/*.dat.zst"))
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "dumps" / "20200202T000000Z-gone" / "manifest.json").unlink()
    told = shop.run("backup.verify", "--all", "--json", code=1, BACKUP_FOLDER=str(tmp_path))
    document = json.loads(told.stdout)
    assert list(document["proven"]) == ["20200202T000000Z-whole"]
    assert sorted(document["failed"]) == ["20200202T000000Z-cut", "20200202T000000Z-gone"]
    assert "is damaged" in document["failed"]["20200202T000000Z-cut"]
    for words in (*document["failed"].values(), "2 of 3 backups could not be proven."):
        assert words in told.stderr


def test_the_dump_is_pg_restores_own_format(shop: Checkout, seeded: str, tmp_path: Path) -> None:
    """Decompressed, the dump folder is a directory that pg_restore lists."""
    entry = catalogue.at(folder(shop, seeded))
    assert entry.manifest is not None
    load._unpack(entry, entry.manifest, tmp_path, OPEN)
    process = shop.environment.engine.run("pg_restore", ["--list", "dump"], folder=tmp_path, stdout=subprocess.PIPE)
    listing = process.communicate()[0].decode()
    assert "TABLE DATA public messages" in listing


def test_a_database_with_a_bit_of_everything_comes_back(shop: Checkout) -> None:
    """Types of every kind, odd names, large objects, partitions, views, rules: all are compared, and come back."""
    shop.query(EVERYTHING, role="owner")
    made = shop.json("backup", "--label", "everything")
    assert made["proven"]
    shop.query('DROP SCHEMA "Odd one" CASCADE; SELECT lo_unlink(oid) FROM pg_largeobject_metadata', role="owner")
    shop.run("restore", "everything")
    assert shop.query('SELECT count(*) FROM "Odd one"."Sel""ect"') == [(3,)]
    assert shop.query("SELECT convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata") == [("large",)]
    assert shop.query('SELECT sum FROM "Odd one".totals') == [(6,)]
    shop.query('DROP SCHEMA "Odd one" CASCADE; SELECT lo_unlink(oid) FROM pg_largeobject_metadata', role="owner")


EVERYTHING = """
CREATE SCHEMA "Odd one";
SET LOCAL search_path = "Odd one", public;
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TYPE pair AS (a int, b mood);
CREATE DOMAIN share AS numeric CHECK (VALUE BETWEEN 0 AND 1);
CREATE TABLE "Sel""ect" (
    id int GENERATED ALWAYS AS IDENTITY, m mood, ms mood[], p pair, s share, t tstzrange, j json, f float8,
    b bytea, r regclass, v vector(3), twice int GENERATED ALWAYS AS (2) STORED, i interval,
    "Weird Column" text, n numeric);
INSERT INTO "Sel""ect" (m, ms, p, s, t, j, f, b, r, v, i, "Weird Column", n)
SELECT 'sad', '{glad,sad}', ROW(n, 'glad')::pair, 0.5, tstzrange(now(), NULL), '{"a": 1}', 'NaN', '\\x00ff', 'users',
       '[1,2,3]', '1 day 2 hours', E'tab\\tline\\nback\\\\slash', n / 3.0 FROM generate_series(1, 3) n;
CREATE TABLE parts (at date NOT NULL, n int) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO parts VALUES ('2026-05-05', 1), ('2026-06-06', 2);
CREATE MATERIALIZED VIEW totals AS SELECT sum(id) FROM "Sel""ect";
CREATE VIEW glad AS SELECT * FROM parts WHERE n > 1;
CREATE RULE nothing AS ON INSERT TO glad DO INSTEAD NOTHING;
CREATE STATISTICS both_columns ON at, n FROM parts;
CREATE UNLOGGED TABLE fleeting (a int);
INSERT INTO fleeting VALUES (1);
CREATE TABLE empty_one ();
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE INDEX by_twice ON parts_1 (twice(n));
GRANT SELECT ON parts TO app;
COMMENT ON TABLE parts IS 'in parts';
SELECT lo_from_bytea(0, 'large');
"""


def test_a_damaged_backup_is_found_before_a_server_is_touched(shop: Checkout, seeded: str) -> None:
    """A file that is missing, short, empty, or that grew is named; the database stays as it is, and no proof stands."""
    path = next(folder(shop, seeded).glob("dump/*.dat.zst"))
    before = path.read_bytes()
    prove(catalogue.at(folder(shop, seeded)))
    for content, reason in ((before[:-1], "no longer proven"), (b"", "0 bytes"), (before + b"x", "bytes instead of")):
        path.write_bytes(content)
        told = shop.run("restore", seeded, code=1).stderr
        assert path.name in told
        assert reason in told
    path.unlink()
    assert "it is missing" in shop.run("restore", seeded, code=1).stderr
    path.write_bytes(before)
    path.chmod(0o600)
    shop.run("restore", seeded)


def test_what_restores_to_something_else_is_no_longer_proven(shop: Checkout, seeded: str) -> None:
    """A backup that holds other rows than it says fails backup.verify, and loses its proof."""
    copy = folder(shop, "20200202T000000Z-other")
    shutil.copytree(folder(shop, seeded), copy)
    said = manifests.read(copy)
    tables = {name: replace(content, rows=content.rows + 1) for name, content in said.tables.items()}
    manifests.write(replace(said, name=copy.name, label="other", tables=tables), copy)
    prove(catalogue.at(copy))
    told = shop.run("backup.verify", "other", code=1).stderr
    assert "is not what was backed up" in told
    assert f"{copy.name} is no longer proven." in told
    assert not (copy / catalogue.PROOF).exists()
    shutil.rmtree(copy)


def test_every_flipped_bit_is_found(shop: Checkout, seeded: str) -> None:
    """200 bits flipped at random places of all files: each is found before anything is loaded."""
    chance = random.Random(16)  # noqa: S311 - places to flip a bit at
    home = folder(shop, seeded)
    files = [
        path for path in home.rglob("*") if path.is_file() and path.name != catalogue.PROOF and path.stat().st_size
    ]
    for _ in range(200):
        path = chance.choices(files, [path.stat().st_size for path in files])[0]
        before = path.read_bytes()
        place = chance.randrange(len(before))
        path.write_bytes(before[:place] + bytes([before[place] ^ 1 << chance.randrange(8)]) + before[place + 1 :])
        with pytest.raises(DrydockError, match=r"damaged|cannot be used|newer drydock"):
            load.check_files(catalogue.at(home), OPEN)
        path.write_bytes(before)
    load.check_files(catalogue.at(home), OPEN)


# Called for each row that is loaded, with the rights of whoever loads it.
TRAP = """
CREATE FUNCTION public.trap(value int) RETURNS bool LANGUAGE plpgsql AS $$
  BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN CREATE ROLE mallory SUPERUSER; END IF;
    RETURN true;
  END $$;
CREATE SCHEMA lures;
CREATE TABLE lures.lure (id int PRIMARY KEY CHECK (public.trap(id)), other int REFERENCES lures.lure);
INSERT INTO lures.lure VALUES (1, 1);
ALTER TABLE lures.lure ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY
"""


def test_what_a_backup_brings_along_never_runs_as_the_superuser(shop: Checkout) -> None:
    """Neither when it is proven nor when it is restored: all of it is the owner's, so the owner loads it."""
    shop.query(TRAP, role="owner")
    try:
        shop.run("backup", "--label", "lure")
        shop.run("restore", "lure", "--yes")
        assert shop.query("SELECT count(*) FROM lures.lure") == [(1,)]
        assert shop.query("SELECT rolname FROM pg_roles WHERE rolname = 'mallory'") == []
        force = "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = 'lure'"
        assert shop.query(force) == [(True, True)]
    finally:
        shop.query("DROP ROLE IF EXISTS mallory")
        shop.run("reset")


SPRUNG = """
CREATE FUNCTION lures.sprung() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.trap(0); RETURN OLD; END';
CREATE TRIGGER always BEFORE DELETE ON lures.lure FOR EACH ROW EXECUTE FUNCTION lures.sprung();
ALTER TABLE lures.lure ENABLE ALWAYS TRIGGER always;
CREATE TYPE lures.odd AS (one int);
CREATE FUNCTION lures.number(lures.odd) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM public.trap(0); RETURN 1; END';
CREATE CAST (lures.odd AS int) WITH FUNCTION lures.number(lures.odd) AS IMPLICIT;
ALTER TABLE lures.lure ADD odd lures.odd;
UPDATE lures.lure SET odd = ROW(1);
CREATE SEQUENCE lures.counting OWNED BY lures.lure.odd
"""
LEFT = """
CREATE ROLE app__writer LOGIN;
GRANT app_owner TO app__writer;
GRANT SET ON PARAMETER session_replication_role TO app__writer
"""


def test_nothing_runs_as_the_superuser_where_single_tables_come_back(shop: Checkout) -> None:
    """Constraints, triggers that always fire and casts have the owner's rights; the login for it is gone afterwards.

    Where a kill left it, it is the next one's to remove.
    """
    shop.query(TRAP + ";" + SPRUNG, role="owner")
    shop.query(LEFT)
    try:
        name = shop.json("backup", "--label", "sprung")["name"]
        shop.run("restore", name, "--table", "lures.lure")
        assert shop.query("SELECT count(*) FROM lures.lure") == [(1,)]
        assert shop.query("SELECT rolname FROM pg_roles WHERE rolname IN ('mallory', 'app__writer')") == []
    finally:
        shop.query("DROP ROLE IF EXISTS mallory")
        shop.run("reset")


def test_what_only_a_superuser_can_create_is_restored_by_one(shop: Checkout) -> None:
    """The owner may own a function that is trusted not to leak, but could not create it; nor write what is not its."""
    shop.query("CREATE FUNCTION public.sure() RETURNS int LEAKPROOF LANGUAGE sql AS 'SELECT 1'")
    shop.query("ALTER FUNCTION public.sure() OWNER TO app_owner; CREATE TABLE public.boss AS SELECT 1 AS id")
    try:
        made = shop.json("backup", "--label", "privileged")
        assert made["proven"]
        shop.run("restore", "privileged", "--yes")
        assert shop.query("SELECT proleakproof FROM pg_proc WHERE proname = 'sure'") == [(True,)]
        assert shop.query("SELECT tableowner FROM pg_tables WHERE tablename = 'boss'") == [("postgres",)]
        shop.query("DELETE FROM boss")
        shop.run("restore", "privileged", "--table", "boss")
        assert shop.query("SELECT id FROM boss") == [(1,)]
    finally:
        shop.run("reset")
