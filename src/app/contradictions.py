"""Settings that are each well-formed and do not hold together: every such pair, with the variables to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.db import tls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.settings import Settings

Problem = tuple[str, str]
TEST_SIBLINGS = ("DATABASE_DIRECT_URL", "DATABASE_OWNER_URL")
SHOWN = 80
"""Characters of a wrong value that a message repeats."""


def find(settings: Settings) -> list[Problem]:
    """All of them, as pairs of variable names and a sentence."""
    return [*_pool(settings), *_development(settings), *_urls(settings)]


def _pool(settings: Settings) -> Iterator[Problem]:
    size, maximum = settings.database_pool_size, settings.db_pool_max
    name = "DATABASE_POOL_SIZE" if maximum is None and size is not None else "DB_POOL_MAX"
    if maximum is not None and size is not None and maximum != size:
        yield "DB_POOL_MAX, DATABASE_POOL_SIZE", f"are two names of one number, and say {maximum} and {size}"
    elif "db_pool_min" in settings.model_fields_set and settings.db_pool_min > settings.pool_max:
        yield f"DB_POOL_MIN, {name}", f"the minimum {settings.db_pool_min} is above the maximum {settings.pool_max}"
    if settings.db_idle_timeout > settings.db_max_lifetime:
        idle, age = settings.db_idle_timeout, settings.db_max_lifetime
        yield "DB_IDLE_TIMEOUT, DB_MAX_LIFETIME", f"no connection lives {age:g} s and can have been idle for {idle:g} s"


def _development(settings: Settings) -> Iterator[Problem]:
    if settings.db_echo and settings.app_env != "development":
        yield "DB_ECHO, APP_ENV", f"statements are logged in development only, not in {settings.app_env}"


def _urls(settings: Settings) -> Iterator[Problem]:
    unknown = settings.database_ssl_allow_insecure.difference(tls.URL_VARIABLES)
    if unknown:
        names = ", ".join(sorted(unknown))[:SHOWN]
        yield "DATABASE_SSL_ALLOW_INSECURE", f"must name variables among {', '.join(tls.URL_VARIABLES)}, not {names}"
    main = settings.url_variable
    if getattr(settings, main.lower()) is None and settings.database_owner_url is None:
        yield main, f"is not set, and with APP_ENV={settings.app_env} no other takes its place: {tls.EXAMPLE}"
    try:
        policy = settings.tls
    except ValueError as error:
        yield "DATABASE_SSL", f"{error}, not {str(settings.database_ssl)[:SHOWN]!r}"
        return
    found: dict[str, tls.Parameters] = {}
    for variable in tls.URL_VARIABLES:
        try:
            found |= _parsed(settings, variable, policy)
        except ValueError as error:
            yield variable, str(error)
    yield from _same_or_other(settings, found)


def _parsed(settings: Settings, variable: str, policy: tls.TlsPolicy) -> dict[str, tls.Parameters]:
    """The parameters of one URL by its variable; nothing where it is not set."""
    url = getattr(settings, variable.lower())
    if url is None:
        return {}
    text = url.get_secret_value()
    # The URL of the other environment need not be fit for this one.
    elsewhere = variable in {"DATABASE_URL", "DATABASE_URL_TEST"} and variable != settings.url_variable
    return {variable: tls.parse(text) if elsewhere else tls.secure(variable, text, policy)}


def _same_or_other(settings: Settings, found: dict[str, tls.Parameters]) -> Iterator[Problem]:
    """Where tests run, nothing may lead to another database than the tests' own."""
    usual, test = found.get("DATABASE_URL"), found.get("DATABASE_URL_TEST")
    if usual and test and _place(usual) == _place(test):
        yield "DATABASE_URL, DATABASE_URL_TEST", "name the same database; tests would work on what is not theirs"
    for variable in TEST_SIBLINGS if settings.app_env == "test" else ():
        other = found.get(variable)
        if other and test and other["dbname"] != test["dbname"]:
            yield (
                f"{variable}, DATABASE_URL_TEST",
                f"with APP_ENV=test they must name one database, not {other['dbname']!r} and {test['dbname']!r}",
            )


def _place(parameters: tls.Parameters) -> tuple[str, str, str]:
    return str(parameters["host"]), str(parameters.get("port", "5432")), str(parameters["dbname"])
