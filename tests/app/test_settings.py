"""Settings of the application: one class for every environment, and errors that name the variable and no secret."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from app.errors import SettingsError
from app.settings import Settings, get_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = "postgresql://app:hunter2@db.example:6543/shop"
TEST_URL = "postgresql://app:hunter2@db.example:6543/shop_test"
PREFIXES = ("DATABASE_", "DB_", "REDIS_", "APP_ENV")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the developer's own shell takes part."""
    for name in os.environ:
        if name.startswith(PREFIXES):
            monkeypatch.delenv(name)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def load(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    """The settings that these variables make."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return get_settings()


def test_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL is all that has to be said."""
    settings = load(monkeypatch, {"DATABASE_URL": URL})
    assert (settings.db_pool_min, settings.pool_max, settings.db_idle_timeout) == (2, 10, 20)
    assert (settings.db_connect_timeout, settings.db_statement_timeout, settings.app_env) == (10, 30, "development")


@pytest.mark.parametrize("name", ["DB_POOL_MAX", "DATABASE_POOL_SIZE"])
def test_the_maximum_has_two_names(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Both names reach up to 100."""
    assert load(monkeypatch, {"DATABASE_URL": URL, name: "100"}).pool_max == 100


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """`DB_POOL_MAX=` is the default."""
    assert load(monkeypatch, {"DATABASE_URL": URL, "DB_POOL_MAX": "", "DATABASE_SSL": ""}).pool_max == 10


def test_settings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later change of the environment does not reach a running process."""
    settings = load(monkeypatch, {"DATABASE_URL": URL})
    monkeypatch.setenv("DATABASE_URL", TEST_URL)
    assert get_settings() is settings


@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_one_class_for_every_environment(monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    """The same code connects to DATABASE_URL everywhere; staging and production verify the server unasked."""
    settings = load(monkeypatch, {"APP_ENV": environment, "DATABASE_URL": URL})
    assert settings.application()["dbname"] == "shop"
    assert settings.application()["sslmode"] == ("prefer" if environment == "development" else "verify-full")


def test_tests_have_a_database_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """APP_ENV=test takes DATABASE_URL_TEST."""
    settings = load(monkeypatch, {"APP_ENV": "test", "DATABASE_URL": URL, "DATABASE_URL_TEST": TEST_URL})
    assert settings.application()["dbname"] == "shop_test"


def test_direct_and_owner_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way past a pooler is the usual one unless it is set; migrations prefer the owner."""
    assert load(monkeypatch, {"DATABASE_URL": URL}).direct()["host"] == "db.example"
    direct = Settings(database_url=URL, database_direct_url="postgresql://app@direct.example/shop")
    assert (direct.direct()["host"], direct.migration()["host"]) == ("direct.example", "direct.example")
    owner = Settings(database_url=URL, database_owner_url="postgresql://owner@direct.example/shop")
    assert owner.migration()["user"] == "owner"


def test_a_missing_owner_url_is_named() -> None:
    """What only some commands need is missed when it is asked for."""
    with pytest.raises(SettingsError, match="DATABASE_OWNER_URL: is not set"):
        Settings(database_url=URL).owner()


BAD = [
    ({}, "DATABASE_URL: is not set"),
    ({"APP_ENV": "test", "DATABASE_URL": URL}, "DATABASE_URL_TEST: is not set"),
    ({"DATABASE_URL": URL, "APP_ENV": "prod"}, "APP_ENV: must be 'development', 'test', 'staging' or 'production'"),
    ({"DATABASE_URL": URL, "DB_POOL_MAX": "many"}, "DB_POOL_MAX: must be a valid integer"),
    ({"DATABASE_URL": URL, "DB_POOL_MAX": "101"}, "DB_POOL_MAX: must be less than or equal to 100"),
    ({"DATABASE_URL": URL, "DB_POOL_MAX": "0"}, "DB_POOL_MAX: must be greater than or equal to 1"),
    ({"DATABASE_URL": URL, "DB_POOL_MIN": "-1"}, "DB_POOL_MIN: must be greater than or equal to 0"),
    ({"DATABASE_URL": URL, "DB_POOL_MIN": "11"}, "DB_POOL_MIN, DB_POOL_MAX: the minimum 11 is above the maximum 10"),
    (
        {"DATABASE_URL": URL, "DB_POOL_MIN": "6", "DATABASE_POOL_SIZE": "5"},
        "DB_POOL_MIN, DATABASE_POOL_SIZE: the minimum 6 is above the maximum 5",
    ),
    (
        {"DATABASE_URL": URL, "DB_POOL_MAX": "10", "DATABASE_POOL_SIZE": "20"},
        "DB_POOL_MAX, DATABASE_POOL_SIZE: are two names of one number, and say 10 and 20",
    ),
    ({"DATABASE_URL": URL, "DB_IDLE_TIMEOUT": "0"}, "DB_IDLE_TIMEOUT: must be greater than 0"),
    ({"DATABASE_URL": URL, "DB_IDLE_TIMEOUT": "nan"}, "DB_IDLE_TIMEOUT: must be a finite number"),
    ({"DATABASE_URL": URL, "DB_IDLE_TIMEOUT": "1e9"}, "DB_IDLE_TIMEOUT, DB_MAX_LIFETIME: no connection lives 1800 s"),
    ({"DATABASE_URL": URL, "DB_CONNECT_TIMEOUT": "0.5"}, "DB_CONNECT_TIMEOUT: must be greater than or equal to 1"),
    ({"DATABASE_URL": URL, "DB_STATEMENT_TIMEOUT": "soon"}, "DB_STATEMENT_TIMEOUT: must be a valid number"),
    ({"DATABASE_URL": URL, "DB_POOL_WARN_AT": "1.5"}, "DB_POOL_WARN_AT: must be less than or equal to 1"),
    ({"DATABASE_URL": URL, "APP_ENV": "staging", "DB_ECHO": "1"}, "DB_ECHO, APP_ENV: statements are logged in devel"),
    ({"DATABASE_URL": URL, "APP_ENV": "production", "DB_ECHO": "1"}, "DB_ECHO, APP_ENV: statements are logged in"),
    ({"DATABASE_URL": URL, "REDIS_URL": "http://:hunter2@cache"}, "REDIS_URL: must begin with redis://"),
    ({"DATABASE_URL": "mysql://app:hunter2@db/shop"}, "DATABASE_URL: must begin like postgresql://"),
    ({"DATABASE_URL": "hunter2"}, "DATABASE_URL: must begin like postgresql://"),
    ({"DATABASE_URL": "postgresql://app:hun/ter2@db/shop"}, "DATABASE_URL: is no URL that libpq reads"),
    ({"DATABASE_URL": "postgresql://app@db:hunter2/shop"}, "DATABASE_URL: is no URL that libpq reads"),
    ({"DATABASE_URL": "postgresql://app@db/shop?hunter2=1"}, "DATABASE_URL: is no URL that libpq reads"),
    ({"DATABASE_URL": "postgresql:///shop"}, "DATABASE_URL: names no host"),
    ({"DATABASE_URL": "postgresql://app:hunter2@db"}, "DATABASE_URL: names no database"),
    ({"DATABASE_URL": URL, "DATABASE_OWNER_URL": "hunter2"}, "DATABASE_OWNER_URL: must begin like"),
    (
        {"DATABASE_URL": URL, "DATABASE_URL_TEST": URL, "APP_ENV": "test"},
        "DATABASE_URL, DATABASE_URL_TEST: name the same database",
    ),
    (
        {"DATABASE_URL_TEST": TEST_URL, "APP_ENV": "test", "DATABASE_OWNER_URL": URL},
        "DATABASE_OWNER_URL, DATABASE_URL_TEST: with APP_ENV=test they must name one database",
    ),
    ({"DATABASE_URL": URL, "DATABASE_SSL": "maybe"}, "DATABASE_SSL: must be true, false or one of disable"),
    (
        {"DATABASE_URL": f"{URL}?sslmode=disable", "DATABASE_SSL": "true"},
        "DATABASE_URL: says sslmode=disable and DATABASE_SSL says verify-full",
    ),
    (
        {"DATABASE_URL": URL, "DATABASE_SSL_ALLOW_INSECURE": "everything"},
        "DATABASE_SSL_ALLOW_INSECURE: must name variables among DATABASE_URL",
    ),
]


@pytest.mark.parametrize(
    ("variables", "sentence"), BAD, ids=[f"{number}-{names.partition(':')[0]}" for number, (_, names) in enumerate(BAD)]
)
def test_bad_settings_are_one_sentence_each(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    """Whatever is wrong is named with its variable; no secret and no traceback of pydantic's comes with it."""
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, variables)
    assert sentence in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "hun/ter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_all_problems_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several wrong variables are one error with a line each."""
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, {"DB_POOL_MIN": "x", "DB_IDLE_TIMEOUT": "y", "APP_ENV": "z"})
    assert {names for names, _ in caught.value.problems} == {"DB_POOL_MIN", "DB_IDLE_TIMEOUT", "APP_ENV"}


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither text nor representation of the settings holds a password."""
    settings = load(monkeypatch, {"DATABASE_URL": URL, "REDIS_URL": "redis://:hunter2@cache/0"})
    assert "hunter2" not in f"{settings} {settings!r}"


def test_nothing_fails_at_import() -> None:
    """Without any variable every module can be imported; the error comes when the settings are asked for."""
    code = (
        "import app.db, app.settings\ntry: app.settings.get_settings()\nexcept Exception as e: print(type(e).__name__)"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "SettingsError"
