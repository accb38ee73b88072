"""A stranger's database with something of everything, its dumps in every form, and what loading one may not touch."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import zstandard

from drydock import postgres, template
from drydock.backup.foreign import loading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
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
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,  # as the program zstd does
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
        self.text = text_of(checkout, STRANGER)

    def bytes(self, *options: str, program: str = "pg_dump") -> bytes:
        """A dump of one of the forms that are a file."""
        key = (program, *options)
        if key not in self.made:
            target = [] if program == "pg_dumpall" else ["--dbname", STRANGER]
            process = self.checkout.environment.engine.run(program, [*target, *options], stdout=subprocess.PIPE)
            out, err = process.communicate()
            assert process.returncode == 0, err
            # A tar ends with two empty blocks, a script with a word; another end is not of the dump's making.
            assert "--format=c" in options or out.endswith(bytes(1024)) or b"dump complete" in out[-300:], "cut off"
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


def stranger(checkout: Checkout, folder: Path) -> Iterator[Dumps]:
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
    before = outside(checkout)
    try:
        yield loading.load(environment, source, LOADED, lambda _: None, progress)
    finally:
        assert outside(checkout) == before
        with postgres.administer(environment) as connection:
            template.drop(connection, LOADED)


def outside(checkout: Checkout) -> list[object]:
    """What a dump must not be able to change: roles, databases, settings, the application's data."""
    return [
        checkout.query("SELECT rolname, rolsuper, rolcreaterole, rolcanlogin FROM pg_roles ORDER BY 1"),
        checkout.query("SELECT roleid::regrole, member::regrole FROM pg_auth_members ORDER BY 1, 2"),
        checkout.query("SELECT datname, datdba::regrole, datacl::text FROM pg_database ORDER BY 1"),
        checkout.query("SELECT name, setting FROM pg_file_settings ORDER BY 1"),
        checkout.query("SELECT count(*), max(created_at) FROM messages"),
    ]


def text_of(checkout: Checkout, database: str) -> str:
    """All of a database but owners and grants, as pg_dump tells it."""
    options = ["--no-owner", "--no-privileges", "--exclude-schema=drydock", "--dbname", database]
    process = checkout.environment.engine.run("pg_dump", options, stdout=subprocess.PIPE)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return re.sub(r"(?m)^\\(un)?restrict .*\n", "", out.decode())
