"""backup.base, archive.list, archive.verify."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from invoke.collection import Collection

from drydock.console import seconds, size, table
from drydock.tasks.common import changing, command, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.console import Console
    from drydock.recovery.archive.folders import Archive
    from drydock.recovery.bases.base import Base
    from drydock.recovery.upkeep.audit_part import Finding

NOTHING = "No archive yet: invoke up"


@command(
    help={
        "reason": "Why, for those who ask later.",
        "no-verify": "Do not prove it now; the next `invoke up` sees to that.",
    }
)
def base(console: Console, reason: str = "asked for", no_verify: bool = False, json: bool = False) -> None:
    """Copy the whole cluster while it is in use: what `invoke restore --at` starts from. The newer, the faster."""
    from drydock.backup import encryption
    from drydock.recovery.bases import copying, proof
    from drydock.recovery.upkeep import attendant

    with changing(console, "backup.base") as environment, attendant.alone(environment.settings.folder):
        with console.phase("base backup"), console.progress("copying", in_bytes=True) as progress:
            made = copying.take(environment, reason=reason, now=datetime.now(UTC), progress=progress)
        if encryption.sealing(environment.settings).one_way:
            console.note("unproven, for BACKUP_IDENTITY is not set")
        elif not no_verify:
            with console.phase("verify"):
                proof.verify(environment, made, now=datetime.now(UTC))
    console.result({**_data(made), "path": str(made.path)}, _lines(made))


@command()
def list_archive(console: Console, json: bool = False) -> None:
    """The base backups and the WAL of each cluster, oldest first: what `invoke restore --at` goes back with."""
    from drydock.recovery.archive.folders import Archive, system_identifiers
    from drydock.recovery.bases import base as bases

    current = settings()
    found = {}
    for identifier in system_identifiers(current):
        archive = Archive(current, identifier)
        found[identifier] = {"bases": [_data(one) for one in bases.bases(archive)], "parts": _parts(archive)}
    console.result({"archives": found}, _listing(found))


@command()
def verify(console: Console, json: bool = False) -> None:
    """Read the whole archive again: every base backup, every segment, and whether one follows the other."""
    from drydock.errors import DrydockError
    from drydock.recovery.archive.folders import system_identifiers

    findings, unread = _findings(console)
    for what in unread:
        console.note(what)
    lines = [line for found in findings for line in (f"{found.where}: {found.what}", f"    → {found.fix}")]
    data = [{"where": found.where, "what": found.what, "fix": found.fix} for found in findings]
    sound = "All that was archived is there, and is what was written." if system_identifiers(settings()) else NOTHING
    console.result({"findings": data, "unread": unread}, lines or [sound])
    if findings:
        what = f"{len(findings)} things are" if len(findings) > 1 else "1 thing is"
        raise DrydockError(f"{what} wrong with the archive.", hint="invoke archive.list")


def _findings(console: Console) -> tuple[list[Finding], list[str]]:
    """Of every cluster in the backups folder; with this checkout's servers up, what is being written counts as well.

    And what could not be looked into.
    """
    from drydock.environment import open_existing
    from drydock.errors import NoEnvironmentError
    from drydock.recovery.upkeep import attendant, inspection

    current = settings()
    try:
        environment = open_existing()
    except NoEnvironmentError:
        with console.phase("read everything"):
            return inspection.inspect(current, None, console.step), inspection.unread(current, None)
    with attendant.alone(current.folder), console.phase("read everything"):
        return inspection.inspect(current, environment, console.step), inspection.unread(current, environment)


def _data(one: Base) -> dict[str, object]:
    manifest = one.manifest
    return {
        "name": one.name,
        "part": one.part,
        "timeline": one.timeline,
        "from": manifest.start,
        "to": manifest.stop,
        "taken": manifest.stopped,
        "reason": manifest.reason,
        "size_bytes": manifest.size,
        "unpacked_bytes": manifest.unpacked,
        "postgres": manifest.postgres,
        "encrypted": bool(manifest.recipients),
        "seconds": manifest.seconds,
        "proven": one.proof.when if one.proof else None,
        "damage": one.damage or None,
    }


def _lines(made: Base) -> Iterator[str]:
    manifest = made.manifest
    yield f"{made.name}: {size(manifest.unpacked)} of cluster in {size(manifest.size)}, in {seconds(manifest.seconds)}"
    if made.proof:
        yield "  proven: unpacked, and every file compared with what the server sent"
    else:
        yield "  unproven: invoke archive.verify"


def _parts(archive: Archive) -> list[dict[str, object]]:
    listed = []
    for part in archive.parts():
        stored = archive.segments(part.name)
        listed.append(
            {
                "part": part.name,
                "begun": part.begun,
                "reason": part.reason,
                "hole_before": part.hole,
                "segments": len({one.segment for one in stored}),
                "size_bytes": sum(one.path.stat().st_size for one in stored),
            }
        )
    return listed


def _listing(found: dict[str, dict[str, list[dict[str, object]]]]) -> Iterator[str]:
    if not found:
        yield NOTHING
    for identifier, held in found.items():
        yield f"cluster {identifier}"
        rows = [("  base backup", "taken (UTC)", "part", "WAL", "size", ""), *map(_base_row, held["bases"])]
        yield from table(rows if held["bases"] else [("  no base backup: invoke backup.base",)])
        yield from table([("  part", "begun (UTC)", "segments", "size", "because"), *map(_part_row, held["parts"])])


def _base_row(one: dict[str, object]) -> tuple[str, ...]:
    state = "damaged" if one["damage"] else "proven" if one["proven"] else "unproven"
    notes = [state] + (["encrypted"] if one["encrypted"] else [])
    return (
        f"  {one['name']}",
        str(one["taken"])[:19].replace("T", " "),
        str(one["part"]),
        f"{one['from']} to {one['to']}",
        size(float(str(one["size_bytes"]))),
        ", ".join([*notes, str(one["reason"])]),
    )


def _part_row(one: dict[str, object]) -> tuple[str, ...]:
    hole = "; WAL is missing before it" if one["hole_before"] else ""
    return (
        f"  {one['part']}",
        str(one["begun"])[:19].replace("T", " "),
        str(one["segments"]),
        size(float(str(one["size_bytes"]))),
        f"{one['reason']}{hole}",
    )


def group() -> Collection:
    """`archive`."""
    collection = Collection("archive")
    collection.add_task(list_archive, name="list", default=True)
    collection.add_task(verify)
    return collection
