"""`invoke health` and `invoke serve`: the application's own health, in this environment."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from drydock import health, serve
from drydock.environment import Environment
from drydock.errors import DrydockError, NotReadyError, PortTakenError, SettingsError
from drydock.settings import Project, application_variables, load

if TYPE_CHECKING:
    from pathlib import Path

    from tests.checkout import Checkout


REFUSING = """
async def application(scope, receive, send):
    await send({"type": "lifespan.startup.failed", "message": "no database today"})
"""


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python looks for a project's modules is this test's business alone."""
    monkeypatch.setattr(sys, "path", [*sys.path])


def with_project(checkout: Checkout, **keys: Any) -> Environment:
    """The checkout's environment, for a project that says other things of itself."""
    environment = checkout.environment
    # The shared checkout is not archived, which its own processes are told and this one is not.
    settings = replace(environment.settings, wal_archive=False)
    return Environment(replace(settings, project=replace(settings.project, **keys)), environment.state)


def test_health_prints_the_application_s_document(scratch: Checkout) -> None:
    """Through [tool.drydock] health; the shape is the draft's."""
    document = scratch.json("health")
    assert document["status"] == "pass"
    assert {"postgres:migration", "postgres:connections", "redis:memory"} <= set(document["checks"])
    (extension,) = document["checks"]["postgres:extensionVersion"]
    assert (extension["componentId"], extension["status"]) == ("vector", "pass")


def test_failing_health_has_an_exit_code(scratch: Checkout) -> None:
    """5; people see a line for each check, with what was observed or why it failed."""
    lines = scratch.run("health", code=5, REDIS_PASSWORD="not-the-password").stdout.splitlines()
    assert any(re.match(r"✓ postgres:responseTime +[\d.]+ ms", line) for line in lines)
    assert any(re.match(r"✗ redis:responseTime +the login was refused", line) for line in lines)
    assert lines[-1] == "status: fail"
    assert "not-the-password" not in "".join(lines)


def test_a_project_without_health_gets_drydocks(scratch: Checkout) -> None:
    """The readiness checks, in the same shape."""
    found = health.document(with_project(scratch, health=""))
    assert found["status"] == "pass"
    assert {"postgres:query", "postgres:vector", "schema:head", "redis:ping"} <= set(found["checks"])
    (entry,) = found["checks"]["redis:ping"]
    assert (entry["status"], entry["observedValue"][:4], entry["time"][-1]) == ("pass", "PONG", "Z")
    assert [check.name for check in health.checks(found)] == list(found["checks"])


@pytest.mark.parametrize(
    ("reference", "error", "words"),
    [
        ("json:dumps", NotReadyError, "failed: dumps"),
        ("time:time", NotReadyError, "no application/health.json"),
        ("json:nothing", SettingsError, "cannot be imported"),
    ],
)
def test_a_wrong_reference_is_a_sentence(
    scratch: Checkout, reference: str, error: type[DrydockError], words: str
) -> None:
    """Whatever the project's function does, and where it is none."""
    with pytest.raises(error, match=words):
        health.document(with_project(scratch, health=reference))


def test_the_application_gets_its_own_lines_of_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not drydock's secrets, and nothing over what the shell says."""
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=super-secret\nDB_POOL_MAX=7\nDB_ECHO=true\n")
    monkeypatch.setenv("DB_ECHO", "false")
    assert application_variables(load(tmp_path)) == {"DB_POOL_MAX": "7"}


def fetch(url: str) -> tuple[int, str]:
    """The HTTP status and the document's own at a URL."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - our own loopback address
            return response.status, json.load(response)["status"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["status"]


def test_serve_answers_until_interrupted(scratch: Checkout) -> None:
    """The URL is told, the application has this environment's servers, and Ctrl-C is a success."""
    process = scratch.start("serve")
    assert process.stdout
    line = process.stdout.readline()
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert url, line
        while fetch(f"{url[0]}/readyz") != (200, "pass"):  # a busy machine may miss the first deadline
            continue
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in err


def test_a_taken_port_is_a_sentence(scratch: Checkout) -> None:
    """Who has it, and what to type."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"Port {port} is taken by .*{os.getpid()}") as caught:
            serve.run(scratch.environment, port, print)
    assert "--port" in caught.value.hint


def test_an_application_that_does_not_start_is_an_error(scratch: Checkout, caplog: pytest.LogCaptureFixture) -> None:
    """It says why itself; drydock says that it did not start."""
    told: list[str] = []
    (scratch.root / "src" / "refusing.py").write_text(REFUSING)
    with pytest.raises(NotReadyError, match="refusing:application did not start"):
        serve.run(with_project(scratch, serve="refusing:application"), 0, told.append)
    assert "no database today" in caplog.text
    assert len(told) == 1


def test_nothing_to_serve(scratch: Checkout) -> None:
    """A project without an application is told how to name one."""
    with pytest.raises(SettingsError, match="names no application"):
        serve.run(with_project(scratch, serve=""), 0, print)


def test_serving_needs_an_extra() -> None:
    """Neither task is imported with uvicorn: listing stays quick, and who does not serve need not install it."""
    code = "import sys, drydock.serve, drydock.tasks; print('uvicorn' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_the_keys_are_the_projects_own() -> None:
    """A project that says nothing has neither."""
    assert (Project().health, Project().serve) == ("", "")
