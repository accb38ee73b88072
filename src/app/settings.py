"""One class of settings for development, test, staging and production; nothing else reads the environment.

Each field is an environment variable of the same name in capitals; an empty one counts as unset. Times are in seconds.
Nothing is read when this module is imported, and whatever is wrong comes as one SettingsError that names every
variable concerned and repeats no secret.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import SettingsError

if TYPE_CHECKING:
    from app.db.tls import Parameters, TlsPolicy

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
SECRET = frozenset({"database_url", "database_url_test", "database_direct_url", "database_owner_url", "redis_url"})
SHOWN = 40
"""Characters of a wrong value that a message repeats."""


class Settings(BaseSettings):
    """What the data layer is told from outside.

    Attributes:
        app_env: where this process runs.
        database_url: the application role's database, through a pooler or not.
        database_url_test: takes its place where APP_ENV is test; it must be another database.
        database_direct_url: the same database past a transaction pooler, for session advisory locks.
        database_owner_url: as the role that owns the schema, past a pooler: migrations and system access.
        redis_url: of the cache and the rate limiter.
        db_pool_min: connections that are kept open.
        db_pool_max: connections at most; DATABASE_POOL_SIZE is another name for it.
        db_pool_timeout: how long a caller waits for a free connection.
        db_pool_warn_at: the share of the maximum in use from which a warning is given.
        db_idle_timeout: how long a connection beyond the minimum may stay unused.
        db_max_lifetime: the age at which a connection is replaced.
        db_connect_timeout: how long making a connection may take.
        db_statement_timeout: how long a statement may run on the server.
        db_leak_after: how long a connection may be held before it is reported with the place it was taken at.
        db_prepare: whether repeated statements are prepared on the server; auto: not behind a transaction pooler.
        db_echo: log every statement; development only.
        database_ssl: see `app.db.tls`.
        database_ssl_root_cert: a file of certificate authorities, or `system`.
        database_ssl_allow_insecure: variables, comma-separated, whose servers production need not verify.
    """

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True, str_strip_whitespace=True
    )

    app_env: Literal["development", "test", "staging", "production"] = "development"
    database_url: SecretStr | None = None
    database_url_test: SecretStr | None = None
    database_direct_url: SecretStr | None = None
    database_owner_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    db_pool_min: int = Field(2, ge=0, le=100)
    db_pool_max: int | None = Field(None, ge=1, le=100)
    database_pool_size: int | None = Field(None, ge=1, le=100)
    db_pool_timeout: Seconds = 10
    db_pool_warn_at: float = Field(0.8, gt=0, le=1)
    db_idle_timeout: Seconds = 20
    db_max_lifetime: Seconds = 1800
    db_connect_timeout: float = Field(10, ge=1, le=300)
    db_statement_timeout: Seconds = 30
    db_leak_after: Seconds = 60
    db_prepare: Literal["auto", "always", "never"] = "auto"
    db_echo: bool = False
    database_ssl: str | None = None
    database_ssl_root_cert: str | None = None
    database_ssl_allow_insecure: Annotated[frozenset[str], NoDecode] = frozenset()

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError([_sentence(dict(problem)) for problem in error.errors()]) from None

    @property
    def production(self) -> bool:
        """Whether the strict rules hold."""
        return self.app_env == "production"

    @property
    def pool_max(self) -> int:
        """Connections at most: DB_POOL_MAX, DATABASE_POOL_SIZE, or 10."""
        return self.db_pool_max or self.database_pool_size or 10

    @property
    def pool_min(self) -> int:
        """Connections that are kept open: DB_POOL_MIN, or 2 where the maximum allows it."""
        return min(self.db_pool_min, self.pool_max)

    @property
    def url_variable(self) -> str:
        """The variable that names the application's database here."""
        return "DATABASE_URL_TEST" if self.app_env == "test" else "DATABASE_URL"

    @property
    def tls(self) -> TlsPolicy:
        """What these settings say about TLS."""
        from app.db.tls import TlsPolicy, mode_of

        return TlsPolicy(
            mode=mode_of(self.database_ssl) if self.database_ssl else None,
            root_certificate=self.database_ssl_root_cert,
            verified=self.app_env in {"staging", "production"},
            enforced=self.production,
            exempt=self.database_ssl_allow_insecure,
        )

    def application(self) -> Parameters:
        """How to connect as the application, through a pooler where there is one.

        Raises:
            SettingsError: no URL is set for it.
        """
        return self._connection(self.url_variable)

    def direct(self) -> Parameters:
        """How to connect as the application past a pooler; as usual where no other way is set."""
        return self._connection("DATABASE_DIRECT_URL") if self.database_direct_url else self.application()

    def owner(self) -> Parameters:
        """How to connect as the owner of the schema.

        Raises:
            SettingsError: DATABASE_OWNER_URL is not set.
        """
        return self._connection("DATABASE_OWNER_URL")

    def migration(self) -> Parameters:
        """How migrations connect: as the owner, or else as the application past a pooler.

        Raises:
            SettingsError: no URL is set for either.
        """
        return self.owner() if self.database_owner_url else self.direct()

    def _connection(self, variable: str) -> Parameters:
        from app.db.tls import secure

        url: SecretStr | None = getattr(self, variable.lower())
        if url is None:
            raise SettingsError([(variable, "is not set: postgresql://user:password@host:port/database")])
        return secure(variable, url.get_secret_value(), self.tls)

    @field_validator("database_ssl_allow_insecure", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(REDIS_SCHEMES):
            raise ValueError(f"must begin with {', '.join(REDIS_SCHEMES)}")
        return value

    @model_validator(mode="after")
    def _hold_together(self) -> Self:
        from app.contradictions import find

        problems = find(self)
        if problems:
            raise SettingsError(problems)
        return self


@cache
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        SettingsError: naming every variable that is missing, malformed or at odds with another.
    """
    return Settings()


def _sentence(problem: dict[str, Any]) -> tuple[str, str]:
    """A variable and what is wrong with it, from one of pydantic's findings."""
    field = str(problem["loc"][0])
    message = str(problem["msg"]).replace("Input should be", "must be").removeprefix("Value error, ")
    if field in SECRET:
        return field.upper(), message
    return field.upper(), f"{message}, not {str(problem['input'])[:SHOWN]!r}"
