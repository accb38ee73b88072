"""What the engines' words are taken to mean."""

from __future__ import annotations

import pytest

from drydock.engine import ServiceState
from drydock.engine.compose import _said
from drydock.engine.docker import version_tuple
from drydock.images.resolve import UNREACHABLE


@pytest.mark.parametrize(
    "words",
    [
        'Get "https://registry.example/v2/": dial tcp: lookup registry.example on 10.0.0.2:53: no such host',
        'Get "https://registry.example/v2/": dial tcp 203.0.113.7:443: connect: connection refused',
        "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
        "net/http: TLS handshake timeout",
        "proxyconnect tcp: EOF",
        "connect: network is unreachable",
    ],
)
def test_a_registry_out_of_reach(words: str) -> None:
    """The network is at fault: a local image may stand in."""
    assert UNREACHABLE.search(words)


@pytest.mark.parametrize(
    "words",
    [
        "pull access denied for nobody/nothing, repository does not exist or may require 'docker login'",
        "manifest for redis:999 not found: manifest unknown",
        "toomanyrequests: You have reached your pull rate limit",
        "no space left on device",
    ],
)
def test_a_registry_that_said_no(words: str) -> None:
    """The registry answered: standing in would hide a mistake."""
    assert not UNREACHABLE.search(words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("26.1.5+dfsg1", (26, 1, 5)), ("20.10.24", (20, 10, 24)), ("29.0.0-rc.1", (29, 0, 0)), ("25", (25,))],
)
def test_versions_compare_as_numbers(text: str, expected: tuple[int, ...]) -> None:
    """Debian's and pre-release suffixes do not matter."""
    assert version_tuple(text) == expected


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("Container a  Creating\nError response from daemon: no.\n", "Error response from daemon: no"),
        ("just one line", "just one line"),
        ("", "it said nothing"),
    ],
)
def test_the_telling_line_of_compose(stderr: str, expected: str) -> None:
    """Progress lines are passed over, silence is called that."""
    assert _said(stderr) == expected


@pytest.mark.parametrize(
    ("state", "failed"),
    [
        (ServiceState(status="running"), False),
        (ServiceState(status="created"), False),
        (ServiceState(status="running", restarts=1), False),
        (ServiceState(status="exited", exit_code=1), True),
        (ServiceState(status="restarting", restarts=1), True),
        (ServiceState(status="paused"), False),
    ],
)
def test_when_waiting_is_useless(state: ServiceState, failed: bool) -> None:  # noqa: FBT001 - a table's column
    """Ended, or coming back only to end again."""
    assert state.failed is failed
