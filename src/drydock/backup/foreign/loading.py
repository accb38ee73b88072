"""Dumps that drydock did not make: any form pg_dump writes, from any database, into an empty database of ours."""

from __future__ import annotations

import re
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import psycopg
from psycopg import sql

from drydock import postgres, revisions
from drydock.backup.foreign import archive, dump_format, guest, tar_folder
from drydock.backup.foreign.carried import Carried
from drydock.backup.foreign.dump_format import Form
from drydock.backup.foreign.extensions import Extensions
from drydock.backup.foreign.script import Account, Script, sections, several
from drydock.backup.foreign.source import CHUNK, Source
from drydock.errors import DrydockError, word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drydock.backup.foreign.dump_format import Recognised
    from drydock.backup.foreign.source import Readable
    from drydock.environment import Environment

    Progress = Callable[[str, int, int], None]

STANDARD_INPUT = "standard input"
EVERY = 1 << 20  # bytes between two reports of progress


def load(
    environment: Environment,
    source: Path | BinaryIO,
    database: str,
    report: Callable[[str], None],
    progress: Progress,
) -> Carried:
    """Fill `database`, which must be empty but for what postgres.create_database put there, from somebody's dump.

    The dump's SQL runs as a role that can reach nothing but this database; afterwards all of it belongs to the
    environment's owner. Where this raises, the database is of no use and to be dropped.

    Args:
        environment: whose server it is.
        source: a file, the folder of a `pg_dump -Fd`, or a stream, which need not be seekable.
        database: the empty one.
        report: takes a line about what is being done.
        progress: takes a name, the bytes of the dump read so far, and how many it has: 0 where nobody knows.

    Raises:
        DrydockError: where it is no dump that can be loaded here, is damaged, or nothing of it could be created.
    """
    name = source.name if isinstance(source, Path) else STANDARD_INPUT
    with ExitStack() as stack:
        given = stack.enter_context(_opened(source))
        _refuse(given.recognised)
        report(f"{name}: {given.recognised}")
        section = _only_section(environment, given, stack) if given.recognised.cluster else None
        account, applied = _execute(
            environment, database, given, section, lambda done: progress(name, done, given.size)
        )
    tables, opened = _settle(environment, database, account)
    return Carried(
        form=str(given.recognised),
        tables=tables,
        rows=account.rows,
        revisions=tuple(applied),
        versioned=bool(applied) or not environment.settings.project.alembic,
        owners=tuple(account.owners),
        roles=tuple(account.unknown_roles),
        defaults=tuple(account.defaults),
        extensions=tuple(account.extensions),
        settings=tuple(account.settings),
        commands=tuple(account.commands),
        server_wide=tuple(account.server_wide),
        failures=tuple(account.failures),
        opened=opened,
    )


@dataclass
class _Given:
    """A dump that was handed in: what it is, its bytes as they are and unpacked, or its folder."""

    recognised: Recognised
    size: int = 0
    packed: Source | None = None
    content: Readable | None = None
    folder: Path | None = None


@contextmanager
def _opened(source: Path | BinaryIO) -> Iterator[_Given]:
    if not isinstance(source, Path):
        yield _recognised(source, 0)
    elif source.is_dir():
        yield _Given(dump_format.of_folder(source), folder=source)
    else:
        try:
            stream = source.open("rb")
        except OSError as error:
            raise DrydockError(f"Cannot read {source}: {error.strerror}.", hint="invoke backup.list") from error
        with stream:
            yield _recognised(stream, source.stat().st_size)


def _recognised(stream: BinaryIO, size: int) -> _Given:
    packed = Source(stream)
    recognised, content = dump_format.of_stream(packed)
    return _Given(recognised, size, packed, content)


def _refuse(recognised: Recognised) -> None:
    """Stop at what can be told and still cannot be loaded.

    Raises:
        DrydockError: saying what to do instead.
    """
    if recognised.form is Form.OURS:
        raise DrydockError("This is a backup of drydock's own.", hint="Restore it by its name: invoke backup.list")
    header = recognised.header
    if header and header.too_new:
        raise DrydockError(
            "The dump was made by a pg_dump newer than 16, in a form that Postgres 16 cannot read.",
            hint="Where it was made, turn it into SQL: pg_restore -f dump.sql DUMP; then: invoke restore dump.sql",
        )


def _only_section(environment: Environment, given: _Given, stack: ExitStack) -> str:
    """The one database with anything in it that a whole cluster's dump holds; read twice, so kept on disk meanwhile.

    Raises:
        DrydockError: where it holds none or several.
    """
    assert given.content
    # Without a name: it is gone with us, however we end (0600 by tempfile's own rule).
    spool = tempfile.TemporaryFile(dir=environment.settings.folder)  # noqa: SIM115 - closed with the stack
    stack.enter_context(spool)
    while block := given.content.read(CHUNK):
        spool.write(block)
    spool.seek(0)
    found = [name for name, objects in sections(spool).items() if objects]
    if len(found) != 1:
        raise several(found) if found else DrydockError("The dump of a whole server holds no database with tables.")
    spool.seek(0)
    given.content = spool
    return found[0]


def _execute(
    environment: Environment, database: str, given: _Given, section: str | None, progress: Callable[[int], None]
) -> tuple[Account, list[str]]:
    """Run the dump's script as the guest; returns also the revisions of migrations that came with it."""
    told = -EVERY

    def tick() -> None:
        nonlocal told
        done = given.packed.position if given.packed else 0
        if done - told >= EVERY:
            told = done
            progress(done)

    with ExitStack() as stack:
        role = stack.enter_context(guest.invited(environment, database))
        superuser = stack.enter_context(postgres.administer(environment, database))
        connection = stack.enter_context(postgres.connect(environment, role, database))
        connection.prepare_threshold = None
        # It is thrown away unless it is whole, so that no statement need wait for the disk.
        connection.execute("SET synchronous_commit = off")
        roles = {str(row[0]) for row in superuser.execute("SELECT rolname FROM pg_roles")}
        script = Script(connection, Extensions(superuser, role.name), roles, section)
        script.execute(stack.enter_context(_script_of(environment, given, tick)), tick)
        progress(max(given.size, given.packed.position if given.packed else 0))
        return script.account, _applied(environment, connection)


@contextmanager
def _script_of(environment: Environment, given: _Given, tick: Callable[[], None]) -> Iterator[Readable]:
    """The dump as one SQL script."""
    with ExitStack() as stack:
        content: Readable | Path | None = given.folder or given.content
        assert content
        if given.recognised.form is Form.TAR and not isinstance(content, Path):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=environment.settings.folder)))
            tar_folder.lay_out(_Ticking(content, tick), folder)
            _refuse(dump_format.of_folder(folder))
            content = folder
        if given.recognised.form is Form.SQL and not isinstance(content, Path):
            yield content
        else:
            yield stack.enter_context(archive.script_of(environment.engine, content))


class _Ticking:
    """Hands through, and says so each time."""

    def __init__(self, content: Readable, tick: Callable[[], None]) -> None:
        self._content = content
        self._tick = tick

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        self._tick()
        return self._content.read(size)


def _applied(environment: Environment, connection: postgres.Connection) -> list[str]:
    """What the version table says, read as the guest: it may be anything, a view that calls a function too."""
    connection.execute("RESET ALL")
    try:
        return revisions.applied(environment.settings, connection)
    except psycopg.Error:
        return []


_TABLES = """
SELECT n.nspname, count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f') AND c.relowner = %(owner)s::regrole AND n.nspname <> 'drydock' GROUP BY 1 ORDER BY 1
"""
_ANYTHING = """
SELECT FROM pg_shdepend
WHERE refclassid = 'pg_authid'::regclass AND refobjid = %(owner)s::regrole AND deptype = 'o'
  AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid NOT IN ('pg_namespace'::regclass, 'pg_default_acl'::regclass)
  AND (classid <> 'pg_largeobject'::regclass OR %(complete)s)
"""
_NO_SCHEMA = re.compile(r'schema "(.+)" does not exist', re.DOTALL)
_PLAIN = re.compile(r"[a-z0-9_]+")  # pg_dump folds capitals and takes patterns where a name is not quoted
_OPEN = (
    "GRANT USAGE ON SCHEMA {schema} TO {app}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {app}",
    "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {app}",
)


def _settle(environment: Environment, database: str, account: Account) -> tuple[int, tuple[str, ...]]:
    """Make the loaded database one of ours; returns its number of tables, and the schemas opened to the application.

    Raises:
        DrydockError: where the dump created nothing.
    """
    owner, app = sql.Identifier(environment.owner.name), sql.Identifier(environment.app.name)
    with postgres.administer(environment, database) as connection:
        # An operator of the stranger's that fits better than the catalogue's own would run with our rights.
        connection.execute("SET search_path = pg_catalog")
        # Rows that found no table are no less lost for a large object that came with them.
        quoted = {"owner": owner.as_string(connection), "complete": not account.failures}
        tables = {str(name): int(str(count)) for name, count in connection.execute(_TABLES, quoted)}
        if not tables and not connection.execute(_ANYTHING, quoted).rowcount:
            raise _nothing(account)
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS public AUTHORIZATION {}").format(owner))
    postgres.equip(environment, database, task="restore")
    opened = () if environment.app.name in account.granted else tuple(tables)
    with postgres.administer(environment, database) as connection, connection.transaction():
        for schema in opened:
            for statement in _OPEN:
                connection.execute(sql.SQL(statement).format(schema=sql.Identifier(schema), app=app))
    return sum(tables.values()), opened


def _nothing(account: Account) -> DrydockError:
    """The error for a dump that left the database empty."""
    if not account.failures:
        return DrydockError("The dump creates nothing: there is no table in it.", hint="Look at it: head DUMP")
    first = account.failures[0]
    hint = "A dump of rows alone (pg_dump --data-only) needs its tables: take one with both."
    missing = _NO_SCHEMA.fullmatch(first.reason)
    if missing and first.statement.upper().startswith("CREATE"):
        name = missing[1] if _PLAIN.fullmatch(missing[1]) else f'"{missing[1]}"'
        hint = f"pg_dump --table leaves the schema out; take the dump with it: pg_dump --schema={word(name)}"
    return DrydockError(
        f"Nothing of the dump could be created; the first that failed was {first.statement}: {first.reason}.", hint=hint
    )
