"""What docs/managed-postgres.md says of variables and their defaults is what the settings have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.settings import Settings

PAGE = (Path(__file__).parents[3] / "docs" / "managed-postgres.md").read_text(encoding="utf-8")
FIELDS = {name.upper() for name in Settings.model_fields}


def variables(text: str) -> set[str]:
    """The names of settings in a text."""
    return set(re.findall(r"\b(?:DB|DATABASE)_[A-Z_]+\b", text))


def test_every_variable_of_the_page_exists() -> None:
    """No name is misspelt or gone."""
    assert variables(PAGE) - FIELDS == set()


def test_every_limit_is_on_the_page() -> None:
    """No setting of the pool is left out."""
    assert {name for name in FIELDS if name.startswith("DB_")} - variables(PAGE) == set()


@pytest.mark.parametrize("line", [line for line in PAGE.splitlines() if line.startswith("| `DB_")])
def test_defaults_on_the_page_are_those_of_the_settings(line: str) -> None:
    """Each row of the table of limits."""
    names, default = line.split("|")[1:3]
    settings = Settings(database_url="postgresql://app@db.example/shop")
    for name, said in zip(re.findall(r"`(\w+)`", names), default.split(","), strict=True):
        value = settings.pool_max if name == "DB_POOL_MAX" else getattr(settings, name.lower())
        assert said.strip(" `").removesuffix(" s") == (
            str(value).lower() if isinstance(value, bool | str) else f"{value:g}"
        )
