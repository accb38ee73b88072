"""Marks: positions in the WAL that have a name and can be restored to; a file each, which is kept with the archive."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from drydock.errors import DrydockError, RefusedError, SettingsError, word
from drydock.fault_points import Point, reached
from drydock.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.recovery.archive.folders import Archive

# pg_create_restore_point takes 63 bytes (MAXFNAMELEN - 1), and a name is a file's name as well.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
AUTOMATIC = "auto-"
NOW = "now"


class Kind(StrEnum):
    """Who made a mark: somebody, or a task before it changed anything."""

    NAMED = "named"
    AUTOMATIC = "automatic"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A position that can be restored to.

    Attributes:
        name: also the restore point's.
        kind: who made it.
        system_identifier: of the cluster.
        incarnation: that was running.
        part: of the WAL archive that was being written.
        timeline: of the position.
        lsn: the end of the restore point's record, such as `0/16B3748`: recovery is to stop before what comes next,
            and something always does.
        flushed: how far the archiver had got when the mark was written; beyond `lsn`.
        made: by the server's clock; UTC, ISO 8601.
        task: that left an automatic one.
        segment: the finished segment that a named one is in; empty for an automatic one.
    """

    name: str
    kind: Kind
    system_identifier: str
    incarnation: int
    part: str
    timeline: int
    lsn: str
    flushed: str
    made: str
    task: str = ""
    segment: str = ""


def check_name(name: str) -> None:
    """Refuse what cannot be a mark's name.

    Raises:
        SettingsError: saying what can.
    """
    if not NAME.fullmatch(name):
        raise SettingsError(
            f"{name!r} cannot be a mark's name: a letter or digit, then letters, digits, dots, - and _; 63 at most.",
            hint="invoke mark friday-evening",
        )
    if name.startswith(AUTOMATIC):
        raise SettingsError(f"{name!r}: names that begin with {AUTOMATIC} are those of the tasks' own marks.")


def named(text: str) -> str:
    """The name that is meant: for `now` the time, such as `20261121T143005Z`."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ") if text == NOW else text


def taken(archive: Archive, name: str) -> str:
    """The mark that has the name; empty where none does. Some file systems know no Friday beside friday."""
    return next((mark.name for mark in every(archive) if mark.name.casefold() == name.casefold()), "")


def refuse_taken(archive: Archive, name: str, *, replace: bool) -> None:
    """Stop where a mark has the name.

    Raises:
        RefusedError: naming it.
    """
    found = taken(archive, name)
    if found and not (replace and found == name):
        raise RefusedError(
            f"There is a mark {found} already.", hint="Choose another name, or pass --replace to move that one here."
        )


def find(archive: Archive, name: str) -> Mark:
    """The mark of that name.

    Raises:
        DrydockError: where there is none, or its file is damaged.
    """
    path = _path(archive, name) if NAME.fullmatch(name) else None
    if path is None or not path.exists():
        raise DrydockError(f"There is no mark {name}.", hint="invoke mark.list")
    return _read(path)


def every(archive: Archive) -> list[Mark]:
    """All marks, oldest first.

    Raises:
        DrydockError: where the file of one is damaged.
    """
    return sorted(map(_read, archive.marks.glob("[!.]*.json")), key=lambda mark: (mark.made, mark.name))


def write(archive: Archive, mark: Mark) -> None:
    """Write a mark down, with a hash of itself."""
    archive.marks.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = asdict(mark)
    text = json.dumps({**document, "sha256": _digest(document)}, indent=1) + "\n"
    write_atomic(_path(archive, mark.name), text)
    reached(Point.MARK_WRITTEN)


def remove(archive: Archive, name: str) -> None:
    """Forget a mark; what it names stays in the WAL."""
    _path(archive, name).unlink(missing_ok=True)


def _path(archive: Archive, name: str) -> Path:
    return archive.marks / f"{name}.json"


def _read(path: Path) -> Mark:
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if raw.pop("sha256", None) != _digest(raw) or raw["name"] != path.stem:
            raise ValueError("it is not what was written")  # noqa: TRY301 - one sentence for all that is wrong
        return Mark(**{**raw, "kind": Kind(raw["kind"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DrydockError(f"{path} is damaged: {error}.", hint=f"It cannot be restored to: rm {word(path)}") from error


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
