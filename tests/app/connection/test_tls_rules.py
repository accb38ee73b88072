"""Which TLS mode a URL and the settings make, and what production refuses."""

from __future__ import annotations

import pytest

from app.db.tls import mode_of, parse
from app.errors import SettingsError
from app.settings import Settings

URL = "postgresql://app:secret@db.example/shop"


@pytest.mark.parametrize(
    ("value", "mode"),
    [("true", "verify-full"), ("On", "verify-full"), ("1", "verify-full"), ("no", "disable"), ("require", "require")],
)
def test_words_of_database_ssl(value: str, mode: str) -> None:
    """True means a verified server; libpq's own words mean what they mean there."""
    assert mode_of(value) == mode


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
@pytest.mark.parametrize("where", ["url", "variable"])
def test_production_refuses_less_than_verify_full(mode: str, where: str) -> None:
    """Each weaker mode is refused, wherever it is said, and the sentence names the variable of the exemption."""
    says = {"url": {"database_url": f"{URL}?sslmode={mode}"}, "variable": {"database_url": URL, "database_ssl": mode}}
    with pytest.raises(SettingsError, match=f"sslmode={mode}.*DATABASE_SSL_ALLOW_INSECURE=DATABASE_URL"):
        Settings(app_env="production", **says[where])
    assert Settings(app_env="staging", **says[where]).application()["sslmode"] == mode


def test_an_exemption_is_for_one_variable() -> None:
    """Who exempts DATABASE_URL has not exempted the direct URL."""
    weak = {"database_url": f"{URL}?sslmode=require", "database_direct_url": f"{URL}?sslmode=require"}
    with pytest.raises(SettingsError) as caught:
        Settings(app_env="production", database_ssl_allow_insecure="DATABASE_URL", **weak)
    assert [names for names, _ in caught.value.problems] == ["DATABASE_DIRECT_URL"]
    both = Settings(app_env="production", database_ssl_allow_insecure="DATABASE_URL, DATABASE_DIRECT_URL", **weak)
    assert both.application()["sslmode"] == "require"


def test_gssapi_never_takes_the_place_of_tls() -> None:
    """Where a ticket is at hand, libpq would prefer a GSSAPI connection, and then check no certificate."""
    parameters = Settings(app_env="production", database_url=f"{URL}?gssencmode=prefer").application()
    assert (parameters["sslmode"], parameters["gssencmode"]) == ("verify-full", "disable")


def test_a_socket_needs_no_tls() -> None:
    """A Unix socket never leaves the machine."""
    url = "postgresql://app@/shop?host=/run/postgresql&sslmode=disable"
    assert Settings(app_env="production", database_url=url).application()["host"] == "/run/postgresql"


def test_a_socket_does_not_excuse_its_neighbour() -> None:
    """Of several hosts, one over TCP is enough to refuse."""
    with pytest.raises(SettingsError, match="verify-full only"):
        Settings(app_env="production", database_url="postgresql://app@/shop?host=/run/postgresql,db&sslmode=disable")


def test_certificate_authorities() -> None:
    """A file named by the URL, or by the variable, or else those of the system."""
    assert Settings(database_url=URL, database_ssl="true").application()["sslrootcert"] == "system"
    named = Settings(database_url=URL, database_ssl="true", database_ssl_root_cert="/ca.pem")
    assert named.application()["sslrootcert"] == "/ca.pem"
    own = Settings(database_url=f"{URL}?sslrootcert=/own.pem", database_ssl="true", database_ssl_root_cert="/ca.pem")
    assert own.application()["sslrootcert"] == "/own.pem"


def test_parameters_of_other_drivers_are_passed_over() -> None:
    """Providers add `pgbouncer=true` for another library; the rest of the query stays."""
    assert parse(f"{URL}?pgbouncer=true&application_name=a%20b")["application_name"] == "a b"
