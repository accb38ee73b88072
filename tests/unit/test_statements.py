from __future__ import annotations

import pytest

from drydock.backup.foreign.statements import Subject, Topic, about, shown


@pytest.mark.parametrize(
    ("statement", "topic", "names"),
    [
        ("ALTER TABLE public.film OWNER TO bob", Topic.OWNER, ("bob",)),
        ('ALTER FUNCTION public.f(integer, text) OWNER TO "Bob ""the"" Builder"', Topic.OWNER, ('Bob "the" Builder',)),
        ("ALTER TABLE ONLY public.film\n    OWNER TO Bob", Topic.OWNER, ("bob",)),
        ("SET SESSION AUTHORIZATION 'mallory'", Topic.OWNER, ("mallory",)),
        ("SET ROLE app_owner", Topic.OWNER, ("app_owner",)),
        ("RESET SESSION AUTHORIZATION", Topic.SKIP, ()),
        ("SET SESSION AUTHORIZATION DEFAULT", Topic.SKIP, ()),
        ("GRANT SELECT,INSERT ON TABLE public.t TO reader", Topic.GRANT, ("reader",)),
        ('GRANT ALL ON TABLE t TO a, GROUP "B c", PUBLIC WITH GRANT OPTION', Topic.GRANT, ("a", "B c")),
        ("REVOKE ALL ON FUNCTION f(integer) FROM PUBLIC", Topic.GRANT, ()),
        ("REVOKE ALL ON SCHEMA private FROM bob CASCADE", Topic.GRANT, ("bob",)),
        ("GRANT ALL ON SCHEMA public TO PUBLIC", Topic.SKIP, ()),
        ("GRANT admins TO bob", Topic.SERVER_WIDE, ("GRANT",)),
        ("GRANT admins TO bob WITH ADMIN OPTION GRANTED BY postgres", Topic.SERVER_WIDE, ("GRANT",)),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE bob IN SCHEMA s GRANT SELECT ON TABLES TO c", Topic.DEFAULTS, ("bob",)),
        ("CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA ext", Topic.EXTENSION, ("hstore", "ext")),
        ('CREATE EXTENSION "uuid-ossp"', Topic.EXTENSION, ("uuid-ossp",)),
        ("COMMENT ON EXTENSION hstore IS 'x'", Topic.SKIP, ()),
        ("create database shop with template = template0", Topic.SERVER_WIDE, ("CREATE DATABASE",)),
        ("ALTER DATABASE shop SET search_path TO x", Topic.SERVER_WIDE, ("ALTER DATABASE",)),
        ("ALTER ROLE bob WITH SUPERUSER PASSWORD 'x'", Topic.SERVER_WIDE, ("ALTER ROLE",)),
        ("ALTER  SYSTEM SET fsync = off", Topic.SERVER_WIDE, ("ALTER SYSTEM",)),
        ("COMMENT ON DATABASE shop IS 'x'", Topic.SKIP, ()),
        ("CREATE OR REPLACE PROCEDURAL LANGUAGE plpgsql", Topic.SKIP, ()),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'x'", Topic.EXECUTE, ()),
        ("CREATE USER MAPPING FOR bob SERVER s", Topic.EXECUTE, ()),
        ("CREATE TABLE database (owner text)", Topic.EXECUTE, ()),
        ("SET transaction_timeout = 0", Topic.SETTING, ()),
        ("SELECT pg_catalog.set_config('search_path', '', false)", Topic.SETTING, ()),
        ("BEGIN", Topic.BEGIN, ()),
        ("START TRANSACTION", Topic.BEGIN, ()),
        ("COMMIT", Topic.COMMIT, ()),
        ("SELECT pg_catalog.lo_open('1', 131072)", Topic.LARGE_OBJECT, ()),
        ("DROP TABLE IF EXISTS t", Topic.DROP, ()),
        ("ALTER TABLE IF EXISTS ONLY t DROP CONSTRAINT c", Topic.DROP, ()),
        ('ALTER TABLE IF EXISTS "a b".t ALTER COLUMN "c d" DROP DEFAULT', Topic.DROP, ()),
        ("ALTER FOREIGN TABLE t DROP CONSTRAINT c", Topic.DROP, ()),
        ('ALTER DOMAIN s."d "" e" DROP CONSTRAINT IF EXISTS c', Topic.DROP, ()),
        ("ALTER TABLE ONLY t ADD CONSTRAINT c CHECK (a > 0)", Topic.EXECUTE, ()),
        ("ALTER TABLE ONLY t ADD CONSTRAINT c CHECK ((s <> 'do drop'::text))", Topic.EXECUTE, ()),
        ("ALTER TABLE t ALTER COLUMN c SET DEFAULT 'a drop of'::text", Topic.EXECUTE, ()),
        ('ALTER TABLE t ADD CONSTRAINT "then drop it" UNIQUE (c)', Topic.EXECUTE, ()),
        ("ALTER TABLE t DROP COLUMN c, ADD CHECK (a > 0)", Topic.EXECUTE, ()),
        ('ALTER TABLE "to drop" OWNER TO bob', Topic.OWNER, ("bob",)),
        ("ALTER TABLE t ALTER c SET DEFAULT $$is owner to x$$", Topic.EXECUTE, ()),
        ("ALTER TABLE t ADD CHECK (s <> ' owner to '), OWNER TO bob", Topic.EXECUTE, ()),
        ('GRANT SELECT ON t TO "a to b", c', Topic.GRANT, ("a to b", "c")),
        ('GRANT SELECT ON TABLE "x to y" TO bob', Topic.GRANT, ("bob",)),
        ('GRANT admins TO "on to bob"', Topic.SERVER_WIDE, ("GRANT",)),
        ('GRANT SELECT ON TABLE "on schema public to" TO bob', Topic.GRANT, ("bob",)),
        ("CREATE LANGUAGE plpgsql_of_ours HANDLER h", Topic.EXECUTE, ()),
        ("INSERT INTO t VALUES ('ALTER TABLE x OWNER TO y')", Topic.EXECUTE, ()),
        ("SELECT 1", Topic.EXECUTE, ()),
    ],
)
def test_what_a_statement_is_about(statement: str, topic: Topic, names: tuple[str, ...]) -> None:
    """Statements of dumps, and some that look like them."""
    assert about(statement.encode()) == Subject(topic, names)


def test_a_statement_is_shown_by_its_beginning() -> None:
    """One line, without what stands in parentheses, cut where a line ends."""
    assert shown(b"CREATE TABLE public.t (\n  a int\n)") == "CREATE TABLE public.t"
    assert shown(b"COPY public.t (a, b) FROM stdin") == "COPY public.t"
    assert len(shown(b"SELECT " + b"1," * 100)) == 72
