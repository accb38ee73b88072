"""The backups of one checkout: what is in `backups/dumps`, found by name, written beside and renamed last."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from drydock.backup import choosing, workspace
from drydock.backup import manifest as manifests
from drydock.errors import BusyError, DamagedError, DrydockError, SettingsError
from drydock.fault_points import Point, reached
from drydock.files import sync_folder, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from drydock.backup.manifest import Manifest

NAME = re.compile(r"\d{8}T\d{6}Z(-[a-z0-9][a-z0-9._-]*)?")
LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
ARRIVING = ".arriving-"
PROOF, PIN = "proof.json", "pin.json"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """That a backup was restored and compared: when (UTC, ISO 8601), by which drydock, and how long it took.

    `manifest` is the hash of the manifest it was proven for.
    """

    manifest: str
    when: str
    tool: str
    restore_seconds: float
    compare_seconds: float


_PROVES = tuple(one.name for one in fields(Proof))


@dataclass(frozen=True)
class Entry:
    """One folder in the catalogue; `problem` says why it cannot be used, or is empty."""

    path: Path
    manifest: Manifest | None
    problem: str = ""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @cached_property
    def proof(self) -> Proof | None:
        """The proof of just this content, or None: unproven, as where the proof cannot be read."""
        found = self._beside.get(PROOF)
        if self.manifest is None or found is None or found["manifest"] != manifests.digest(self.manifest):
            return None
        return Proof(**{name: found[name] for name in _PROVES})

    @property
    def pinned(self) -> str | None:
        """Why it is pinned (may be empty), or None where it is not. One whose pin cannot be read is pinned."""
        if PIN not in self._beside:
            return None
        return str((self._beside[PIN] or {}).get("reason", ""))

    @property
    def unreadable(self) -> list[str]:
        """Which of its proof and its pin are there and cannot be read."""
        return [name for name, found in self._beside.items() if found is None]

    @cached_property
    def _beside(self) -> dict[str, dict[str, Any] | None]:
        """What the proof and the pin say, each where it is there; None for one that cannot be read."""
        found = {}
        for name, needed in ((PROOF, _PROVES), (PIN, ())):
            with suppress(FileNotFoundError):
                found[name] = _read_json(self.path / name, needed)
        return found


class Catalogue:
    """The backups in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entries(self) -> list[Entry]:
        """All backups, newest first; unusable ones with their problem. Never one that is being written."""
        if not self.folder.is_dir():
            return []
        with os.scandir(self.folder) as inside:
            found = [_entry(self.folder / one.name) for one in inside if NAME.fullmatch(one.name) and one.is_dir()]
        return choosing.newest_first(found)

    def find(self, wanted: str, *, own: str = "") -> Entry:
        """The usable backup called `wanted`: its name, a beginning that only one has, its label, or `latest`.

        Args:
            wanted: what it is called; `latest` is the newest whole one.
            own: identity of a checkout whose backups `latest` takes rather than those of others.

        Raises:
            DrydockError: where none or several fit (naming what is near), or it cannot be used.
        """
        entries = self.entries()
        if not entries:
            raise DrydockError(f"There is no backup in {self.folder}.", hint="invoke backup")
        entry = _pick(entries, wanted, own)
        if entry.manifest is None:
            raise DrydockError(f"The backup {entry.name} cannot be used: {entry.problem}", hint="invoke backup.list")
        return entry

    @contextmanager
    def writing(self, label: str, now: datetime) -> Iterator[Draft]:
        """A folder to write a backup into. It appears in the catalogue only by `Draft.finish`.

        Without that it is removed at the end; after a kill, by the next one that writes.

        Raises:
            SettingsError: where the label cannot be part of a folder's name, or the backup be found by it.
        """
        if label == choosing.LATEST:
            raise SettingsError(f"{label!r} cannot be a label.", hint="It means the newest backup: use another word.")
        if label and not LABEL.fullmatch(label):
            raise SettingsError(
                f"{label!r} cannot be a label.", hint="Use up to 40 lower-case letters, digits, '.', '_' and '-'."
            )
        with workspace.working_in(self.folder) as path:
            yield Draft(self, path, label, now)

    @contextmanager
    def receiving(self, name: str) -> Iterator[Arrival]:
        """A folder to fetch the backup `name` into. It appears in the catalogue only by `Arrival.finish`.

        Without that it stays, for the next one who fetches the same; fetching another one removes it.

        Raises:
            BusyError: where another task fetches the same one.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{ARRIVING}{name}"
        with ExitStack() as stack:
            with workspace.held(self.folder, wait=True):
                for other in self.folder.glob(f"{ARRIVING}*"):
                    if other != path and workspace.abandoned(other):
                        shutil.rmtree(other)
                path.mkdir(mode=0o700, exist_ok=True)
                try:
                    stack.enter_context(workspace.held(path))
                except BlockingIOError:
                    raise BusyError(f"Another task is fetching {name}.", hint="Wait for it to end.") from None
            yield Arrival(self, path, name)

    def clear_leftovers(self) -> list[str]:
        """Remove what killed tasks left unfinished; returns names. What somebody still writes is left alone."""
        return workspace.clear(self.folder)

    def remove(self, entry: Entry) -> None:
        """Take a backup away: first its name, so that a kill leaves no half one in the listing."""
        doomed = self.folder / f"{workspace.REMOVING}{entry.name}"
        entry.path.rename(doomed)
        sync_folder(self.folder)
        shutil.rmtree(doomed)

    def next_sequence(self) -> int:
        """One more than the highest there is."""
        return max((entry.manifest.sequence for entry in self.entries() if entry.manifest), default=0) + 1


@dataclass
class Draft:
    """A backup being written; its files go below `path`."""

    catalogue: Catalogue
    path: Path
    label: str
    now: datetime

    def finish(self, manifest: Manifest) -> Entry:
        """Write the manifest and give the folder its name; returns the backup as the catalogue has it."""
        with workspace.held(self.catalogue.folder, wait=True):
            name = self._free_name()
            complete = replace(
                manifest,
                name=name,
                label=self.label,
                made=self.now.astimezone(UTC).isoformat(timespec="seconds"),
                sequence=self.catalogue.next_sequence(),
            )
            manifests.write(complete, self.path)
            sync_folder(self.path)
            reached(Point.BACKUP_DESCRIBED)
            self.path.rename(self.catalogue.folder / name)
            sync_folder(self.catalogue.folder)
        return Entry(self.catalogue.folder / name, complete)

    def _free_name(self) -> str:
        stem = self.now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ") + (f"-{self.label}" if self.label else "")
        names = (stem, *(f"{stem}-{n}" for n in range(2, 1000)))
        return next(name for name in names if not (self.catalogue.folder / name).exists())


@dataclass
class Arrival:
    """A backup being fetched; its files go below `path`, which may hold some of them already."""

    catalogue: Catalogue
    path: Path
    name: str

    def finish(self, manifest: bytes) -> Entry:
        """Write the manifest's text as it is and give the folder its name; returns the catalogue's entry."""
        with workspace.held(self.catalogue.folder, wait=True):
            write_atomic(self.path / manifests.FILE, manifest.decode())
            reached(Point.PULL_DESCRIBED)
            self.path.rename(self.catalogue.folder / self.name)
            sync_folder(self.catalogue.folder)
        reached(Point.PULL_NAMED)
        return _entry(self.catalogue.folder / self.name)


def at(path: Path) -> Entry:
    """The backup in a folder anywhere, whatever it is called.

    Raises:
        DrydockError: where it cannot be used.
    """
    entry = _entry(path)
    if entry.manifest is None:
        raise DrydockError(f"{path} cannot be used: {entry.problem}")
    return entry


def record_proof(entry: Entry, proof: Proof) -> None:
    """Note that `entry` was restored and found equal."""
    write_atomic(entry.path / PROOF, json.dumps(asdict(proof), indent=1) + "\n")


@contextmanager
def proof_at_stake(entry: Entry) -> Iterator[None]:
    """Withdraw the proof of `entry` where the body finds that the backup itself is damaged: no rule may count on it.

    Raises:
        DamagedError: as the body raises it; it tells of the proof, where there was one.
    """
    try:
        yield
    except DamagedError as error:
        if not (entry.path / PROOF).exists():
            raise
        raise DamagedError(f"{error.message} {_withdrawn(entry)}", hint=error.hint) from error


def _withdrawn(entry: Entry) -> str:
    """What became of a proof that no longer holds."""
    try:
        (entry.path / PROOF).unlink(missing_ok=True)
        sync_folder(entry.path)
    except OSError as error:
        return f"Its {PROOF} cannot be removed: {error.strerror}."
    return f"{entry.name} is no longer proven."


def pin(entry: Entry, reason: str) -> None:
    """Keep `entry` from being pruned."""
    write_atomic(entry.path / PIN, json.dumps({"reason": reason}) + "\n")


def unpin(entry: Entry) -> bool:
    """Let `entry` be pruned again; False where it was not pinned."""
    was = (entry.path / PIN).exists()
    (entry.path / PIN).unlink(missing_ok=True)
    return was


def _entry(path: Path) -> Entry:
    try:
        return Entry(path, manifests.read(path))
    except DrydockError as error:
        return Entry(path, None, error.message)


def _pick(entries: list[Entry], wanted: str, own: str) -> Entry:
    if wanted == choosing.LATEST:
        return choosing.latest(entries, own)
    labels = {entry.name: entry.manifest.label if entry.manifest else "" for entry in entries}
    name = choosing.named(wanted, labels, listing="invoke backup.list")
    return next(entry for entry in entries if entry.name == name)


def _read_json(path: Path, needed: Iterable[str]) -> dict[str, Any] | None:
    """The object in a file; None where there is none with what is needed: a part may be all that reached the disk."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.keys() >= set(needed) else None
