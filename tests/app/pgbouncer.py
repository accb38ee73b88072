"""A real PgBouncer in transaction mode, with TLS, in front of a real server; and the certificates for it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drydock.engine.processes import unprivileged
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

HOST = "127.0.0.1"
SERVER_NAME = "db.example"
SERVER_CONNECTIONS = 2
CONFIGURATION = """
[databases]
* = host={host} port={server}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/userlist.txt
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 100
client_tls_sslmode = allow
client_tls_key_file = {folder}/server.key
client_tls_cert_file = {folder}/server.pem
logfile = {folder}/pgbouncer.log
"""


@dataclass(frozen=True)
class Authority:
    """A certificate authority of a test's own."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, name: str) -> Authority:
        """A new one, trusted by nobody yet."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    def write(self, path: Path) -> Path:
        """What clients are given to trust it."""
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def issue(self, name: str, certificate: Path, key_file: Path) -> None:
        """A certificate for a server of that name, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        authority = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        builder = _builder(name, str(authority), key)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        signed = builder.sign(self.key, hashes.SHA256())
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        key_file.touch(mode=0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


@dataclass(frozen=True)
class PgBouncer:
    """One that runs; `authority` is the file of the authority that issued its certificate for `db.example`."""

    port: int
    authority: Path

    def url(self, url: str, host: str = HOST, query: str = "") -> str:
        """A server's URL by way of this pooler."""
        login = urlsplit(url).netloc.rpartition("@")[0]
        return urlsplit(url)._replace(netloc=f"{login}@{host}:{self.port}", query=query).geturl()


def program() -> str:
    """Where PgBouncer is; skips, or fails in CI, where it is not installed."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None and os.environ.get("CI"):
        pytest.fail("CI must have PgBouncer: .ci/pgbouncer installs it")
    if found is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer, or brew install pgbouncer")
    return found


@contextmanager
def running(folder: Path, urls: Sequence[str]) -> Iterator[PgBouncer]:
    """PgBouncer for these URLs' users, all of one server, with two connections to each of its databases."""
    command = program()
    folder.mkdir(parents=True, exist_ok=True)
    bouncer = PgBouncer(_free_port(), _certificates(folder))
    _configure(folder, bouncer.port, urls)
    process = subprocess.Popen([*unprivileged(), command, str(folder / "pgbouncer.ini")], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _answers(bouncer.url(urls[0])), "PgBouncer answers")
        yield bouncer
    finally:
        process.terminate()
        process.wait(timeout=10)


def _configure(folder: Path, port: int, urls: Sequence[str]) -> None:
    server = urlsplit(urls[0]).port
    text = CONFIGURATION.format(host=HOST, server=server, port=port, folder=folder, size=SERVER_CONNECTIONS)
    (folder / "pgbouncer.ini").write_text(text)
    users = folder / "userlist.txt"
    users.touch(mode=0o600)
    logins = [urlsplit(url) for url in urls]
    lines = [f'"{unquote(login.username or "")}" "{unquote(login.password or "")}"\n' for login in logins]
    users.write_text("".join(lines))


def _certificates(folder: Path) -> Path:
    authority = Authority.make("drydock tests")
    authority.issue(SERVER_NAME, folder / "server.pem", folder / "server.key")
    return authority.write(folder / "authority.pem")


def _builder(name: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
