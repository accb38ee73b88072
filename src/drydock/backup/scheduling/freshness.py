"""Whether the last proven backup is as young as it should be. Cheap: of thousands, only the newest are looked at."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from drydock.backup.scheduling.schedule import FOLDER, RECORD
from drydock.checks import Check, Status
from drydock.errors import DrydockError

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.backup.scheduling.automation import Record
    from drydock.settings import Settings

NAME = "backup:age"
# What a backup and its proof may take, and how long a scheduler may take to try again.
GRACE = timedelta(hours=2)
# A clock may be corrected by as much; what lies further ahead tells nothing of an age.
AHEAD = timedelta(hours=1)


def check(settings: Settings, now: datetime) -> Check | None:
    """The answer for `status`: None where nobody asked for backups of any age, by a schedule or by BACKUP_MAX_AGE.

    Raises:
        DrydockError: where the schedule's record is damaged.
    """
    record = _record(settings)
    allowed = _allowed(settings, record)
    if allowed is None:
        return None
    newest = newest_proven(settings, now)
    known = [moment for moment in (newest, record and _parsed(record.since)) if moment]
    if known and now - max(known) <= allowed:
        return Check(NAME, Status.PASS, f"the last proven backup is {_age(now - newest)} old" if newest else "none yet")
    detail = f"the last proven backup is {_age(now - newest)} old" if newest else "there is no proven backup"
    pace = f"the schedule is {record.schedule}" if record else f"BACKUP_MAX_AGE is {settings.backup_max_age:g} hours"
    fix = "invoke backup; invoke backup.schedule show" if record else "invoke backup"
    return Check(NAME, Status.WARN, f"{detail}; {pace}", fix)


def newest_proven(settings: Settings, now: datetime) -> datetime | None:
    """When the newest whole backup with a valid proof was made; None where there is none.

    Names are taken in their order, which is that of the clock; those that lie ahead of it are passed over.
    """
    folder = settings.backups / "dumps"
    if not folder.is_dir():
        return None
    with os.scandir(folder) as found:
        names = sorted((entry.name for entry in found if entry.name[0].isdigit()), reverse=True)
    moments = (_proven(folder / name) for name in names)
    return next((made for made in moments if made and made <= now + AHEAD), None)


def advice(settings: Settings, now: datetime) -> Check:
    """The answer for `doctor` where nobody asked for backups of any age: a hint, no warning."""
    newest = newest_proven(settings, now)
    seen = f"the last proven backup is {_age(now - newest)} old" if newest else "there is no proven backup yet"
    return Check(NAME, Status.PASS, f"{seen}; no schedule makes one (invoke backup.schedule daily 03:00)")


def _proven(folder: Path) -> datetime | None:
    """When the backup in `folder` was made, where it is whole and its proof is valid."""
    if not (folder / "proof.json").exists():
        return None
    from drydock.backup import manifest as manifests
    from drydock.backup.catalogue import Entry

    try:
        manifest = manifests.read(folder)
        return None if manifest.partial or Entry(folder, manifest).proof is None else manifest.moment
    except (DrydockError, ValueError):
        # backup.list and backup.prune tell what is wrong with it; here it is no proof.
        return None


def _record(settings: Settings) -> Record | None:
    """The schedule; where there is none, nothing is loaded: `status` must stay fast."""
    if not (settings.folder / FOLDER / RECORD).exists():
        return None
    from drydock.backup.scheduling import automation

    return automation.read(settings)


def _allowed(settings: Settings, record: Record | None) -> timedelta | None:
    if settings.backup_max_age is not None:
        return timedelta(hours=settings.backup_max_age)
    return record.parsed.pace + GRACE if record else None


def _parsed(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _age(age: timedelta) -> str:
    hours = max(0.0, age.total_seconds() / 3600)
    return f"{hours / 24:.0f} days" if hours >= 72 else f"{hours:.0f} hours"  # noqa: PLR2004 - three days
