"""Whom the work is done for: a tenant, nobody, or the system itself for a named reason.

`tenant_context` and `system_access` set a context variable: threads do not share it, async tasks inherit it where they
begin. `install` has every transaction of an engine tell the server, by settings that end with the transaction, so that
a pooled connection carries nothing over and PgBouncer's transaction mode changes nothing. The policies read them.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg import Error as DriverError
from psycopg.generators import execute
from psycopg.pq import ExecStatus
from sqlalchemy import event
from sqlalchemy.util import await_only

from app.errors import TenantError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

MAX_REASON = 500
"""Characters of a reason for system access."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a transaction is for."""

    tenant_id: UUID | None = None
    reason: str = ""

    def __str__(self) -> str:
        """As error messages name it."""
        tenant = f"tenant {self.tenant_id}" if self.tenant_id else "no tenant"
        return f"{tenant} with system access" if self.reason else tenant


NOBODY = Scope()
BEGUN_FOR = "app.tenancy.scope"
"""Where a connection's `info` says what its transaction was begun for."""
TELL = "SELECT set_config('app.tenant_id', '{}', true), set_config('app.system_access', '', true)"
# The same for a round trip that carries several commands: SET is planned by nobody, which saves 50 of 490 µs.
BEGIN_AND_TELL = "BEGIN; SET LOCAL app.tenant_id = '{}'; SET LOCAL app.system_access = ''"

OPEN_DOOR = "SELECT set_config('app.system_access', %(reason)s, true)"
# Nobody else than the table's owner passes its `system_access` policy, so nobody else writes an event without a tenant.
RECORD = """
    INSERT INTO audit_events (tenant_id, action, reason) SELECT %(tenant)s::uuid, 'system_access', %(reason)s
    FROM pg_class WHERE oid = 'audit_events'::regclass AND pg_has_role(relowner, 'USAGE')
"""

_scope: ContextVar[Scope] = ContextVar("app_scope", default=NOBODY)


def current_tenant() -> UUID | None:
    """The tenant that this thread or task works for."""
    return _scope.get().tenant_id


@contextmanager
def tenant_context(tenant_id: UUID) -> Iterator[None]:
    """Work for one tenant: transactions that begin inside see and write its rows only.

    Raises:
        TenantError: the id is no UUID, or work for another tenant is going on.
    """
    if not isinstance(tenant_id, UUID):
        raise TenantError(f"A tenant is named by the UUID of its organization, not by a {type(tenant_id).__name__}.")
    outer = _scope.get()
    if outer.tenant_id not in {None, tenant_id}:
        raise TenantError(f"Work for {outer} is going on; leave its tenant_context before working for {tenant_id}.")
    token = _scope.set(Scope(tenant_id, outer.reason))
    try:
        yield
    finally:
        _scope.reset(token)


@contextmanager
def system_access(reason: str) -> Iterator[None]:
    """Work for the system, over all tenants: the door for what no tenant may do, through the owner's engine only.

    Every transaction that begins inside writes an audit event with the reason.

    Raises:
        TenantError: the reason is blank or longer than 500 characters, or system access for another one is going on.
    """
    reason = reason.strip()
    if not 0 < len(reason) <= MAX_REASON:
        raise TenantError(f"System access needs a reason of 1 to {MAX_REASON} characters: who needs it, and what for.")
    outer = _scope.get()
    if outer.reason not in {"", reason}:
        raise TenantError(f"System access is open for “{outer.reason}”; leave it before opening it for another reason.")
    token = _scope.set(Scope(outer.tenant_id, reason))
    try:
        yield
    finally:
        _scope.reset(token)


def install(engine: Engine) -> None:
    """Have every transaction of an engine (an async engine's `sync_engine`) tell the server whom it is for. Idempotent.

    A transaction belongs to the scope it was begun in, and one in autocommit to none: a statement from another scope
    raises TenantError. Work that goes past SQLAlchemy, by a cursor of the driver, has no tenant and sees nothing.
    """
    for name, listener in (("begin", _begin), ("before_cursor_execute", _check)):
        if not event.contains(engine, name, listener):
            event.listen(engine, name, listener)


def _begin(connection: Connection) -> None:
    """Begin the transaction on the server and tell it the scope: always, whatever it was used for before."""
    driver: Any = connection.connection.driver_connection
    # In autocommit, nothing local to a transaction lasts until the next statement: it works for nobody.
    scope = NOBODY if driver.autocommit else _scope.get()
    connection.info[BEGUN_FOR] = scope
    if driver.autocommit:
        return
    tenant = scope.tenant_id or ""
    if not _begin_at_once(driver, BEGIN_AND_TELL.format(tenant)):
        connection.exec_driver_sql(TELL.format(tenant))
    if scope.reason:
        _open_door(connection, scope)


def _begin_at_once(driver: Any, command: str) -> bool:
    """Send BEGIN and what follows in one round trip; psycopg by itself takes one for each.

    False where that is not possible or did not work: the ordinary way then does it, or raises what is wrong in
    SQLAlchemy's own terms.
    """
    if driver.isolation_level or driver.read_only is not None or driver.deferrable is not None:
        return False
    try:
        driver.pgconn.send_query(command.encode())
        answer = driver.wait(execute(driver.pgconn))
        results = await_only(answer) if isinstance(driver, AsyncConnection) else answer
    except DriverError:
        return False
    return bool(results[-1].status == ExecStatus.COMMAND_OK)


def _open_door(connection: Connection, scope: Scope) -> None:
    values = {"reason": scope.reason, "tenant": scope.tenant_id}
    connection.exec_driver_sql(OPEN_DOOR, values)
    if connection.exec_driver_sql(RECORD, values).rowcount != 1:
        raise TenantError("System access goes through the owner's engine: use Database.owner_session().")


def _check(connection: Connection, *_statement: Any) -> None:
    """Refuse a statement whose surroundings work for another scope than its transaction."""
    begun, now = connection.info.get(BEGUN_FOR, NOBODY), _scope.get()
    if begun is not now and begun != now:
        raise TenantError(
            f"This transaction was begun for {begun}, and the statement comes from a context for {now}:"
            " begin a transaction inside the context. A connection in autocommit works for no tenant."
        )
