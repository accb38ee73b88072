"""One checkout: its settings, its recorded state, its roles and URLs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from drydock.errors import NoEnvironmentError
from drydock.state import State, StateFile

if TYPE_CHECKING:
    from drydock.settings import Settings

HOST = "127.0.0.1"
SUPERUSER = "postgres"


@dataclass(frozen=True)
class Role:
    """A database role and its password."""

    name: str
    password: str

    def __repr__(self) -> str:
        """The name alone: the password stays out of logs and tracebacks."""
        return f"Role({self.name!r})"


def never_up() -> NoEnvironmentError:
    """The sentence for a checkout whose servers were never started."""
    return NoEnvironmentError("This checkout has no environment yet.", hint="invoke up")


class Checkout:
    """What a checkout has been told and has recorded: all that an engine needs to know of it.

    Attributes:
        settings: frozen.
        state: as last recorded; replaced by `record`.
    """

    def __init__(self, settings: Settings, state: State) -> None:
        self.settings = settings
        self.state = state
        self.state_file = StateFile(settings.folder)

    def record(self, **changes: Any) -> None:
        """Change the state and write it down."""
        self.state = self.state_file.update(self.state, **changes)

    @property
    def superuser(self) -> Role:
        """Bootstraps and clones; no task runs the application's work as this role."""
        return Role(SUPERUSER, self.settings.postgres_password)

    @property
    def owner(self) -> Role:
        """Owns the schema: migrates and seeds."""
        return Role(self.settings.owner, self.settings.owner_password)

    @property
    def app(self) -> Role:
        """What the application connects as: rows only."""
        return Role(self.settings.app_user, self.settings.app_password)

    @property
    def backup(self) -> Role:
        """Reads everything, whatever row-level security says, and writes nothing: what dumps are made as."""
        return Role(self.settings.backup_user, self.settings.backup_password)

    @property
    def replication(self) -> Role:
        """Receives the WAL and copies the cluster's files: what the archiver connects as."""
        return Role(self.settings.replication_user, self.settings.replication_password)

    def database_url(self, role: Role, database: str = "", *, password: bool = True) -> str:
        """A libpq URL for `role`; without the password where people will read it."""
        secret = f":{quote(role.password, safe='')}" if password else ""
        path = quote(database or self.settings.database, safe="")
        return f"postgresql://{role.name}{secret}@{HOST}:{self.state.postgres_port}/{path}"

    def redis_url(self, *, password: bool = True) -> str:
        """The Redis URL; without the password where people will read it."""
        secret = f":{quote(self.settings.redis_password, safe='')}@" if password else ""
        return f"redis://{secret}{HOST}:{self.state.redis_port}/0"

    def variables(self) -> dict[str, str]:
        """What a shell or an application is told of this environment: its URLs by variable, passwords included."""
        return {
            "DATABASE_URL": self.database_url(self.app),
            "DATABASE_OWNER_URL": self.database_url(self.owner),
            "REDIS_URL": self.redis_url(),
        }
