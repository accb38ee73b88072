"""One test's database: what a test gets to see of it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from drydock.checkout import HOST
from drydock.engine import POSTGRES

if TYPE_CHECKING:
    from drydock.checkout import Role
    from drydock.environment import Environment


@dataclass(frozen=True, repr=False)
class Database:
    """A database of one test's own; gone after the test, unless that failed.

    Attributes:
        environment: of the throwaway server that it is on.
        name: of the database.
        size: of the seeds in it; empty where it is only migrated.
    """

    environment: Environment
    name: str
    size: str = ""

    def __repr__(self) -> str:
        """The URL without a password."""
        return f"<Database {self.environment.database_url(self.environment.app, self.name, password=False)}>"

    @property
    def url(self) -> str:
        """For the role that the application connects as: rows only."""
        return self._url(self.environment.app)

    @property
    def app_url(self) -> str:
        """The same as `url`, where the role is worth saying."""
        return self.url

    @property
    def owner_url(self) -> str:
        """For the role that owns the schema and migrates."""
        return self._url(self.environment.owner)

    @property
    def backup_url(self) -> str:
        """For the role that reads every tenant's rows and writes none."""
        return self._url(self.environment.backup)

    @property
    def superuser_url(self) -> str:
        """For what neither may do."""
        return self._url(self.environment.superuser)

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables by which an application finds the database."""
        return {"DATABASE_URL": self.url, "DATABASE_OWNER_URL": self.owner_url, "DATABASE_URL_TEST": self.url}

    def connect(self, role: str = "app", **options: Any) -> psycopg.Connection[Any]:
        """A psycopg connection as `app`, `owner`, `backup` or `superuser`, with psycopg's own options."""
        return psycopg.connect(getattr(self, f"{role}_url"), **options)

    async def connect_async(self, role: str = "app", **options: Any) -> psycopg.AsyncConnection[Any]:
        """The same for asyncio."""
        return await psycopg.AsyncConnection.connect(getattr(self, f"{role}_url"), **options)

    @property
    def told(self) -> str:
        """Where the database is and the command that connects to it, for people: no password in either."""
        return f"{self._url(self.environment.superuser, password=False)}\n{shlex.join(self._command())}"

    def _url(self, role: Role, *, password: bool = True) -> str:
        return self.environment.database_url(role, self.name, password=password)

    def _command(self) -> list[str]:
        """As the superuser: whoever looks for what a test left behind is to see all of it, row security or not."""
        superuser = self.environment.superuser
        if self.environment.state.engine == "docker":
            container = f"{self.environment.state.name}-{POSTGRES}-1"
            inside = ["psql", "-h", HOST, "-U", superuser.name, self.name]
            return ["docker", "exec", "-it", "-e", "PGPASSFILE=/run/secrets/pgpass", container, *inside]
        from drydock.engine.embedded import TERMINALS
        from drydock.engine.wheels import program

        passwords = self.environment.settings.folder / "secrets" / "pgpass_host"
        variables = [f"PGPASSFILE={passwords}", f"TERMINFO_DIRS={TERMINALS}"]
        return ["env", *variables, str(program("psql")), self._url(superuser, password=False)]
