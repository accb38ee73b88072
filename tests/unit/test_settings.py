from __future__ import annotations

import re
from pathlib import Path

import pytest

from drydock import settings
from drydock.errors import SettingsError
from drydock.settings import load, variables

ROOT = Path(__file__).parents[2]


def test_defaults_without_any_file(tmp_path: Path) -> None:
    """A folder that says nothing gets the documented defaults."""
    loaded = load(tmp_path, {})
    assert (loaded.engine, loaded.database, loaded.ready_timeout, loaded.postgres_port) == ("auto", "app", 60.0, None)
    assert loaded.project.alembic == ""


def test_environment_wins_over_dotenv(tmp_path: Path) -> None:
    """A variable of the process environment beats the same one in .env."""
    (tmp_path / ".env").write_text("POSTGRES_PORT=5433\nREDIS_PORT=6380\n")
    loaded = load(tmp_path, {"POSTGRES_PORT": "5555"})
    assert (loaded.postgres_port, loaded.redis_port) == (5555, 6380)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("APP_ENV", "prod"),
        ("ENGINE", "podman"),
        ("POSTGRES_PORT", "0"),
        ("POSTGRES_PORT", "65536"),
        ("POSTGRES_PORT", "five"),
        ("REDIS_PORT", "-1"),
        ("PORTS", "any"),
        ("POSTGRES_IMAGE", "pg 16"),
        ("IMAGES", "never"),
        ("POSTGRES_DB", "App"),
        ("POSTGRES_DB", "a-b"),
        ("POSTGRES_DB", "x" * 41),
        ("POSTGRES_OWNER", "1owner"),
        ("POSTGRES_PASSWORD", "short"),
        ("POSTGRES_PASSWORD", "has a space in it"),
        ("REDIS_PASSWORD", 'quote"quote'),
        ("POSTGRES_MEMORY", "lots"),
        ("REDIS_MAXMEMORY", "1tb"),
        ("REDIS_MAXMEMORY_POLICY", "lru"),
        ("SEED_SIZE", "huge"),
        ("READY_TIMEOUT", "0"),
        ("READY_TIMEOUT", "nan"),
        ("LOCK_TIMEOUT", "forever"),
        ("BACKUP_RECIPIENTS", "AGE-SECRET-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SWRHX3G"),
        ("BACKUP_RECIPIENTS", "age1short"),
        ("BACKUP_RECIPIENTS", "somebody@laptop"),
        ("BACKUP_RECIPIENTS", "ssh-dss AAAAB3NzaC1kc3MAAACBAJ+Hf6c8sO0n2Wm0DcJ9vM3mPq8o"),
        ("BACKUP_IDENTITY", "a\tb"),
        ("BACKUP_REPOSITORY", "ftp://host/folder"),
        ("BACKUP_REPOSITORY", "https://bucket.example/folder"),
        ("BACKUP_REPOSITORY", "s3://key:SECRET@bucket/folder"),
        ("BACKUP_REPOSITORY", "s3://bucket/folder?region=SECRET"),
        ("BACKUP_REPOSITORY", "s3:///folder"),
        ("BACKUP_REPOSITORY", "file://host/folder"),
    ],
)
def test_malformed_value_is_named_with_what_is_allowed(tmp_path: Path, name: str, text: str) -> None:
    """A bad value is one sentence with the variable and the allowed values; a secret's value is not repeated."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, {name: text})
    assert name in caught.value.message
    assert variables()[name][1] in caught.value.message
    assert caught.value.exit_code == 2
    if "PASSWORD" in name or "SECRET" in text:
        assert text not in caught.value.message


def test_every_wrong_variable_is_named_at_once(tmp_path: Path) -> None:
    """Three mistakes are one error, not three runs."""
    with pytest.raises(SettingsError, match=r"ENGINE.*POSTGRES_PORT.*SEED_SIZE|POSTGRES_PORT.*SEED_SIZE"):
        load(tmp_path, {"ENGINE": "x", "POSTGRES_PORT": "x", "SEED_SIZE": "x"})


@pytest.mark.parametrize(
    "environ",
    [
        {"POSTGRES_PORT": "7000", "REDIS_PORT": "7000"},
        {"POSTGRES_OWNER": "same", "POSTGRES_APP_USER": "same"},
        {"POSTGRES_BACKUP_USER": "app"},
        {"POSTGRES_OWNER": "postgres"},
        {"POSTGRES_DB": "template1"},
    ],
    ids=[
        "one port twice",
        "one role twice",
        "backups as the application",
        "superuser as owner",
        "a database of the server",
    ],
)
def test_values_that_cannot_be_had_together(tmp_path: Path, environ: dict[str, str]) -> None:
    """Each value is allowed, the combination is refused."""
    with pytest.raises(SettingsError):
        load(tmp_path, environ)


@pytest.mark.parametrize(
    ("table", "word"),
    [("colour = 'red'", "colour is unknown"), ("extensions = 'vector'", "list of strings"), ("seeds = 3", "a string")],
)
def test_wrong_project_table(tmp_path: Path, table: str, word: str) -> None:
    """A wrong key of [tool.drydock] is named with what it should be."""
    (tmp_path / "pyproject.toml").write_text(f"[tool.drydock]\n{table}\n")
    with pytest.raises(SettingsError, match=word):
        load(tmp_path, {})


def test_broken_pyproject_is_a_sentence(tmp_path: Path) -> None:
    """A syntax error in pyproject.toml names the file."""
    (tmp_path / "pyproject.toml").write_text("[tool.drydock\n")
    with pytest.raises(SettingsError, match=r"pyproject\.toml"):
        load(tmp_path, {})


def test_unreadable_dotenv_is_a_sentence(tmp_path: Path) -> None:
    """A .env that cannot be read is an error that names it (a folder: root could read any file)."""
    (tmp_path / ".env").mkdir()
    with pytest.raises(SettingsError, match=r"Cannot read .*\.env"):
        load(tmp_path, {})


def test_dotenv_that_is_not_text(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are an error that names the file."""
    (tmp_path / ".env").write_bytes(b"ENGINE=\xff\xfe\n")
    with pytest.raises(SettingsError, match=r"\.env"):
        load(tmp_path, {})


def test_secrets_are_not_in_the_repr(tmp_path: Path) -> None:
    """Settings can be printed: their passwords are left out."""
    assert "hunter2hunter2" not in repr(load(tmp_path, {"REDIS_PASSWORD": "hunter2hunter2"}))


def test_root_is_found_from_below(tmp_path: Path) -> None:
    """A task called in a subfolder serves the checkout above it."""
    (tmp_path / "tasks.py").touch()
    below = tmp_path / "src" / "deep"
    below.mkdir(parents=True)
    assert tmp_path.resolve() == settings.find_root(below)


def test_no_checkout_is_a_sentence(tmp_path: Path) -> None:
    """Outside every checkout the error says so."""
    with pytest.raises(SettingsError, match=r"No tasks\.py"):
        settings.find_root(tmp_path)


def test_example_names_every_variable_with_its_default(tmp_path: Path) -> None:
    """.env.example is complete, and what it says is the default is the default."""
    text = (ROOT / ".env.example").read_text()
    assert list(variables()) == sorted(re.findall(r"^([A-Z_]+)=", text, re.MULTILINE), key=list(variables()).index)
    (tmp_path / ".env").write_text(text)
    assert load(tmp_path, {}) == load(tmp_path, {}) == settings.Settings(root=tmp_path)


def test_exported_variables_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a project's env.py is shown is gone afterwards, and what was there is back."""
    monkeypatch.setenv("DATABASE_URL", "before")
    monkeypatch.delenv("DATABASE_OWNER_URL", raising=False)
    with settings.exported({"DATABASE_URL": "during", "DATABASE_OWNER_URL": "during"}):
        assert settings.child_environment({})["DATABASE_OWNER_URL"] == "during"
    assert settings.child_environment({})["DATABASE_URL"] == "before"
    assert "DATABASE_OWNER_URL" not in settings.child_environment({})


AGE = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBmR5DmXPFzVk0kiTAbcdefghijklmnopqrstuvwxyz0"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", ()),
        (AGE, (AGE,)),
        (f"{AGE},{AGE}", (AGE,)),
        (f"{AGE} {SSH}", (AGE, SSH)),
        (f"{SSH} somebody@laptop, {AGE}", (SSH, AGE)),
        (f"{SSH} key of the office,{AGE},", (SSH, AGE)),
        (f"{SSH} somebody@laptop {AGE}", (SSH, AGE)),
    ],
)
def test_recipients_may_be_age_and_ssh_keys(tmp_path: Path, text: str, keys: tuple[str, ...]) -> None:
    """Public keys of both kinds, separated by commas or spaces; an SSH key's comment is left out."""
    assert load(tmp_path, {"BACKUP_RECIPIENTS": text}).backup_recipients == keys


@pytest.mark.parametrize(
    ("text", "path"),
    [("", None), ("keys/a b.age", "{root}/keys/a b.age"), ("/k.age", "/k.age"), ("~/k.age", "{home}/k.age")],
)
def test_the_identity_s_path(tmp_path: Path, text: str, path: str | None) -> None:
    """Relative to the checkout, absolute, or in the home folder."""
    expected = path and Path(path.format(root=tmp_path, home=Path.home()))
    assert load(tmp_path, {"BACKUP_IDENTITY": text}).identity == expected


@pytest.mark.parametrize(
    "text", ["s3://bucket", "gs://b/a/c/", "az://container/x", "file:///srv/a b", "/mnt/a b", "../it's"]
)
def test_a_repository_s_address(tmp_path: Path, text: str) -> None:
    """An object store's URL without any secret in it, or a folder."""
    assert load(tmp_path, {"BACKUP_REPOSITORY": text}).backup_repository == text


def test_store_variables_come_from_dotenv_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stores' standard variables; the environment wins, and those that the client does not know are left out."""
    (tmp_path / ".env").write_text("AWS_ACCESS_KEY_ID=file\nAWS_REGION=here\nAWS_PROFILE=mine\nSECRET=x\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "environment")
    found = settings.store_variables(load(tmp_path, {}))
    assert (found["AWS_ACCESS_KEY_ID"], found["AWS_REGION"]) == ("environment", "here")
    assert not {"AWS_PROFILE", "SECRET"} & set(found)
