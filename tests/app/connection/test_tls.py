"""Production against real servers: one with TLS, a wrong authority, a wrong name, and one without TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.errors import DatabaseUnavailable
from tests.app.pgbouncer import SERVER_NAME, Authority, PgBouncer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app.db import Database

ADDRESS = "hostaddr=127.0.0.1"


def production(make_database: Callable[..., Database], url: str, authority: Path, **more: str) -> Database:
    """As a service in production opens it, with nothing said but where, and whom to trust."""
    settings = {"app_env": "production", "database_ssl_root_cert": str(authority), "database_owner_url": None, **more}
    return make_database(database_url=url, **settings)


def test_a_verified_server_is_used(make_database: Callable[..., Database], pgbouncer: PgBouncer, app_url: str) -> None:
    """The certificate is for this name and from the authority that is trusted: the connection is encrypted."""
    database = production(make_database, pgbouncer.url(app_url, SERVER_NAME, ADDRESS), pgbouncer.authority)
    assert database.test_connection()
    with database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        assert driver.pgconn.ssl_in_use


def test_a_certificate_of_another_authority_is_refused(
    make_database: Callable[..., Database], pgbouncer: PgBouncer, app_url: str, tmp_path: Path
) -> None:
    """Somebody in the middle can make certificates, but not this authority's."""
    other = Authority.make("somebody else").write(tmp_path / "other.pem")
    database = production(make_database, pgbouncer.url(app_url, SERVER_NAME, ADDRESS), other)
    with pytest.raises(DatabaseUnavailable, match="certificate verify failed"), database.engine.connect():
        pytest.fail("connected")


def test_a_certificate_for_another_name_is_refused(
    make_database: Callable[..., Database], pgbouncer: PgBouncer, app_url: str
) -> None:
    """A valid certificate of another server of the same authority does not do."""
    database = production(make_database, pgbouncer.url(app_url, "other.example", ADDRESS), pgbouncer.authority)
    named = 'server certificate for "db.example" does not match host name "other.example"'
    with pytest.raises(DatabaseUnavailable, match=named), database.engine.connect():
        pytest.fail("connected")


def test_a_server_without_tls_is_refused(
    make_database: Callable[..., Database], pgbouncer: PgBouncer, app_url: str
) -> None:
    """No password is sent in the clear; for a server that is exempt by name, the same URL works."""
    database = production(make_database, app_url, pgbouncer.authority)
    with pytest.raises(DatabaseUnavailable, match="server does not support SSL"), database.engine.connect():
        pytest.fail("connected")
    exempt = {"database_ssl": "disable", "database_ssl_allow_insecure": "DATABASE_URL"}
    assert production(make_database, app_url, pgbouncer.authority, **exempt).test_connection()
