"""S3 servers as processes of their own on loopback, which keep every object as a file that a test can spoil.

`localbucket` honours `If-None-Match` and looks at no credentials. `nanio` checks signatures, and replaces what it was
asked to create: as servers do that are older than conditional writes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drydock.backup.offsite.object_store import Repository
from drydock.backup.offsite.remote import Remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[1]
KEY, SECRET = "tester", "not-a-secret-of-anybody"
BUCKET, PREFIX = "team", "some/prefix"
SERVERS = {
    "localbucket": ("{data}", "--port", "{port}"),
    "nanio": ("serve", "--data-dir", "{data}", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "error"),
}


@dataclass
class Store:
    """A place for a repository: its address, the variables that open it, and where its objects are files."""

    address: str
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    port: int = 0

    def below(self, name: str) -> Store:
        """A part of it that nobody else uses, for what is called `name`."""
        own = hashlib.sha256(name.encode()).hexdigest()[:8]
        return Store(f"{self.address}/{own}", self.folder / own, self.variables, self.port)

    def remote(self, *, port: int = 0, variables: Mapping[str, str] | None = None) -> Remote:
        """The repository, by way of another port or with other variables where given."""
        given = self.variables | dict(variables or {})
        if port:
            given["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        return Remote(Repository(self.address, given))

    def spoil(self, name: str, data: bytes | None) -> None:
        """Replace or remove an object, as somebody does who may write there and is not drydock."""
        import obstore

        store = self.remote(variables={"AWS_DISABLE_BULK_DELETE": "true"}).repository._store
        if data is None:
            obstore.delete(store, name)
        else:
            obstore.put(store, name, data)

    def files(self) -> dict[str, Path]:
        """Every object by its name."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and ".nanio" not in str(path))
        return {str(path.relative_to(self.folder)): path for path in found}


@contextmanager
def serving(name: str, data: Path) -> Iterator[Store]:
    """One of SERVERS with an empty bucket in the folder `data`; skips, or fails in CI, where it is not installed."""
    program = shutil.which(name, path=str(Path(sys.executable).parent))
    if program is None and os.environ.get("CI"):
        pytest.fail(f"CI must have {name}: the extra `test` installs it")
    if program is None:
        pytest.skip(f"{name} is not installed: pip install -e '.[test]'")
    (data / BUCKET).mkdir(parents=True)
    port = _free_port()
    begin = [program] if name != "localbucket" else [sys.executable, "-m", "tests.localbucket_whole"]
    words = [*begin, *(word.format(data=data, port=port) for word in SERVERS[name])]
    environ = os.environ | {"NANIO_ACCESS_KEY": KEY, "NANIO_SECRET_KEY": SECRET}
    process = subprocess.Popen(words, env=environ, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _answers(port, process)
        variables = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }
        yield Store(f"s3://{BUCKET}/{PREFIX}", data / BUCKET / PREFIX, variables, port)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _answers(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"{process.args!r} did not start")
