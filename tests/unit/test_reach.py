"""Which marks a restore can still lead to, once retention has removed what led to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drydock.recovery.archive import marks
from drydock.recovery.archive.folders import Archive
from drydock.recovery.archive.marks import Kind, Mark
from drydock.recovery.bases import base_manifest
from drydock.recovery.way_back import reach
from drydock.settings import Settings
from tests.unit.test_recovery_audit import take
from tests.wal_files import SYSTEM, begin

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Part 2 was restored from part 1 at segment 5, part 3 from part 2 at segment 8; in each a mark or two."""
    made = Archive(Settings(root=tmp_path), SYSTEM)
    begin(made)
    begin(made, "2", timeline=2, start="0/5000000", parent=1)
    begin(made, "3", timeline=3, start="0/8000000", parent=2)
    for name, part, lsn in (
        ("early", "1", "0/3000060"),
        ("late", "1", "0/4000200"),
        ("second", "2", "0/6000200"),
        ("third", "3", "0/9000200"),
    ):
        facts = {"name": name, "part": part, "timeline": int(part), "incarnation": int(part), "lsn": lsn}
        marks.write(
            made,
            Mark(**facts, kind=Kind.NAMED, system_identifier=SYSTEM, flushed=lsn, made="2026-11-21T10:00:00+00:00"),  # type: ignore[arg-type]
        )
    return made


@pytest.mark.parametrize(
    ("part", "number", "gone"),
    [
        ("1", 1, set()),
        ("1", 3, {"early"}),  # which lies before the backup's end, in the segment that it begins in
        ("2", 6, {"early", "late"}),
        ("2", 7, {"early", "late", "second"}),
        ("3", 9, {"early", "late", "second"}),
    ],
)
def test_marks_before_the_oldest_base_backup_have_expired(
    archive: Archive, part: str, number: int, gone: set[str]
) -> None:
    """What comes after it can be reached, through every restore since."""
    take(archive, "20261121T100000Z", part, int(part), number)
    assert reach.expired(archive) == gone


def test_a_damaged_base_backup_leads_nowhere(archive: Archive) -> None:
    """No restore begins with it."""
    take(archive, "20261121T100000Z", "1", 1, 1)
    take(archive, "20261121T110000Z", "2", 2, 6)
    base_manifest.note_damage(archive.bases / "20261121T100000Z", "it is cut off")
    assert reach.expired(archive) == {"early", "late"}


def test_where_a_description_is_damaged_nothing_is_called_expired(archive: Archive) -> None:
    """A list is to be told all the same; the restore itself names what is damaged."""
    (archive.folder / "2" / "part.json").write_text("{")
    assert reach.expired(archive) == frozenset()
