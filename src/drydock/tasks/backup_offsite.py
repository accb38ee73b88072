"""backup.push, backup.pull, backup.remote, backup.keygen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.console import seconds, size, table
from drydock.errors import DrydockError
from drydock.tasks.common import command, refuse_all_and_name, settings
from drydock.tasks.words import LATEST, WordTask

if TYPE_CHECKING:
    from drydock.backup.catalogue import Catalogue, Entry
    from drydock.backup.offsite.pull import Pulled
    from drydock.backup.offsite.push import Pushed
    from drydock.backup.offsite.remote import Listed, Remote
    from drydock.console import Console
    from drydock.settings import Settings

NAME_HELP = "Its name, a beginning of it, its label, or latest."


@command(klass=WordTask, positional=["name"], help={"name": NAME_HELP, "all": "All that can be used, oldest first."})
def push(console: Console, name: str = LATEST, all: bool = False, json: bool = False) -> None:  # noqa: A002 - the flag's name
    """Send a backup to BACKUP_REPOSITORY. Nothing there is replaced; a push that was cut goes on where it was."""
    from drydock.backup.offsite.remote import open_remote

    refuse_all_and_name(name, "backup.push", all_of_them=all)
    current = settings()
    remote, catalogue = open_remote(current), _catalogue(current)
    usable = [entry for entry in reversed(catalogue.entries()) if entry.manifest]
    chosen = usable if all else [catalogue.find(name)]
    _warn(console, chosen, remote)
    sent = _push_each(console, chosen, remote) if all else Sent([_push(console, chosen[0], remote)])
    console.result(
        {"repository": remote.address, **sent.data},
        [_pushed(result, remote) for result in sent.pushed] or ([] if sent.unsent else ["There is nothing to push."]),
    )
    if sent.unsent:
        raise _unsent(sent, len(chosen))


@command(klass=WordTask, positional=["name"], help={"name": NAME_HELP})
def pull(console: Console, name: str = "latest", json: bool = False) -> None:
    """Fetch a backup from BACKUP_REPOSITORY. It appears here once every hash was checked; a damaged one is repaired."""
    from drydock.backup.offsite import pull as work
    from drydock.backup.offsite.remote import open_remote

    current = settings()
    remote = open_remote(current)
    with console.phase("pull"), console.progress("fetching", in_bytes=True) as progress:
        result = work.pull(name, remote, _catalogue(current), lambda done, total: progress(name, done, total))
    entry = result.entry
    console.result(
        {
            "name": entry.name,
            "fetched": result.fetched,
            "here": result.here,
            "repaired": result.repaired,
            "seconds": result.seconds,
        },
        [f"{entry.name} is here: {_fetched(result)}.", f"  restore it: invoke restore {entry.name}"],
    )


@command()
def remote(console: Console, json: bool = False) -> None:
    """List the backups in BACKUP_REPOSITORY, newest first."""
    from drydock.backup.offsite.remote import open_remote

    found = open_remote(settings())
    listed = found.listing()
    console.result(
        {"repository": found.address, "backups": [item.__dict__ for item in listed]},
        [*table([_row(item) for item in listed])] or [f"There is no backup in {found.address}: invoke backup.push"],
    )


@command(help={"path": "Where the private key goes; BACKUP_IDENTITY or ~/.config/drydock/PROJECT.age by default."})
def keygen(console: Console, path: str = "", json: bool = False) -> None:
    """Make the pair of keys that encrypts backups, prove that it works, and say what to put into .env."""
    from drydock import dotenv
    from drydock.backup import keys

    current = settings()
    identity = Path(path).expanduser().absolute() if path else keys.default_path(current)
    recipient, made = keys.make(current, identity)
    console.result(
        {"recipient": recipient, "identity": str(identity), "made": made},
        [
            f"{'Made' if made else 'Kept'} {identity}; it reads back what is encrypted to it. Put into .env:",
            f"BACKUP_RECIPIENTS={','.join(dict.fromkeys((*current.backup_recipients, recipient)))}",
            dotenv.assignment("BACKUP_IDENTITY", str(identity)),
        ],
    )
    console.note("Without this file no backup encrypted to it can ever be read: keep a copy where the backups are not.")


@dataclass
class Sent:
    """What became of several backups: sent, failed with what message, and not tried, for the repository failed."""

    pushed: list[Pushed] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    not_tried: list[str] = field(default_factory=list)

    @property
    def unsent(self) -> int:
        """How many are not there."""
        return len(self.failed) + len(self.not_tried)

    @property
    def data(self) -> dict[str, object]:
        """For the result's document."""
        return {
            "pushed": [result.__dict__ for result in self.pushed],
            "failed": self.failed,
            "not_tried": self.not_tried,
        }


def _push_each(console: Console, entries: list[Entry], remote: Remote) -> Sent:
    """Send one after the other: what is wrong with one keeps no other here, but what is wrong with the repository."""
    from drydock.backup.offsite.object_store import RepositoryError

    sent = Sent()
    for number, entry in enumerate(entries, 1):
        try:
            sent.pushed.append(_push(console, entry, remote))
        except DrydockError as error:
            console.complaint(error)
            sent.failed[entry.name] = error.message
            if isinstance(error, RepositoryError):
                sent.not_tried = [other.name for other in entries[number:]]
                break
    return sent


def _unsent(sent: Sent, count: int) -> DrydockError:
    return DrydockError(
        f"{sent.unsent} of {count} backups {'was' if sent.unsent == 1 else 'were'} not sent.",
        hint="invoke backup.push --all sends the rest once that is mended.",
    )


def _push(console: Console, entry: Entry, remote: Remote) -> Pushed:
    from drydock.backup.offsite import push as work

    with console.phase(f"push {entry.name}"), console.progress("sending", in_bytes=True) as progress:
        return work.push(entry, remote, lambda done, total: progress(entry.name, done, total))


def _pushed(result: Pushed, remote: Remote) -> str:
    there = f", {size(result.there)} were there" if result.there else ""
    return f"{result.name} is in {remote.address}: {size(result.sent)} sent{there}, {seconds(result.seconds)}."


def _fetched(result: Pulled) -> str:
    files = len(result.repaired)
    repaired = f", {files} damaged or missing file{'s' * (files > 1)} repaired" if files else ""
    return f"{size(result.fetched)} fetched{repaired}"


def _warn(console: Console, entries: list[Entry], remote: Remote) -> None:
    """Rows that leave the machine as they are should not do so unnoticed."""
    plain = [entry.name for entry in entries if entry.manifest and not entry.manifest.recipients]
    if plain:
        names = ", ".join(plain[:3]) + (" …" if len(plain) > 3 else "")  # noqa: PLR2004 - a line's worth
        console.note(
            f"not encrypted: {names}. Whoever can read {remote.address} can read the rows; see invoke backup.keygen."
        )


def _row(item: Listed) -> tuple[str, ...]:
    if item.problem:
        return (item.name, "", "", "", f"unusable: {item.problem}")
    return (
        item.name,
        size(item.size),
        f"{item.rows:,} {'row' if item.rows == 1 else 'rows'}",
        "proven" if item.proven else "unproven",
        "encrypted" if item.encrypted else "not encrypted",
    )


def _catalogue(current: Settings) -> Catalogue:
    from drydock.backup.catalogue import Catalogue

    return Catalogue(current.backups / "dumps")


TASKS = (push, pull, remote, keygen)
