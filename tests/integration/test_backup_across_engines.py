"""A backup made on one engine restores on the other."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checkout import Checkout

ENGINES = ("docker", "embedded")


@pytest.mark.parametrize(("here", "there"), [ENGINES, ENGINES[::-1]])
def test_a_backup_restores_on_the_other_engine(
    docker_engine: str, embedded_engine: str, make_checkout: Callable[..., Checkout], here: str, there: str
) -> None:
    """The same rows, roles and policies, by the folder alone; what comes out is compared with what went in."""
    assert {docker_engine, embedded_engine} == set(ENGINES)
    maker, taker = make_checkout("maker", ENGINE=here), make_checkout("taker", ENGINE=there)
    for shop in (maker, taker):
        shop.run("up")
    maker.query("UPDATE users SET name = 'From ' || current_user")
    made = maker.json("backup")
    taken = taker.root / "received"
    shutil.copytree(made["path"], taken)
    told = taker.run("restore", str(taken), "--yes")
    assert "undo: invoke undo" in told.stdout
    assert taker.query("SELECT DISTINCT name FROM users") == [("From postgres",)]
    assert taker.query("SELECT count(*) FROM messages", role="app") == [(0,)]
    assert taker.json("status")["status"] == "pass"
