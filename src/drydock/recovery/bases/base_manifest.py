"""What a base backup says of itself (`base.json`) and how it was proven (`proof.json`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING

from drydock import hashed_json
from drydock.backup.manifest import PackedFile
from drydock.errors import DrydockError
from drydock.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
FILE, PROOF, DAMAGE = "base.json", "proof.json", "damage.json"
OWN = frozenset({FILE, PROOF, DAMAGE})  # beside what the server sent


@dataclass(frozen=True, kw_only=True)
class BaseManifest:
    """What is known of a base backup; never changed once it is written.

    Attributes:
        system_identifier: of the cluster.
        incarnation: the life of the cluster that it was taken of.
        part: the part of the WAL archive that was written then.
        timeline: on which it was taken.
        start: the position from which on WAL is needed to use it, such as `0/2000028`.
        stop: the position that must be replayed to for it to be consistent.
        started: the server's clock before it began, UTC, ISO 8601.
        stopped: the server's clock after it ended: everything committed by `stop` is older.
        reason: why it was taken.
        tool: drydock's version.
        project: of [tool.drydock], or the checkout's folder.
        checkout: identity of the environment.
        database: the application's.
        engine: docker or embedded.
        runs: identity of the image or wheel that ran the server.
        postgres: server_version, such as 16.14.
        postgres_number: server_version_num, such as 160014.
        extensions: version by extension, in the application's database.
        commit: of git, with `+` where the work tree had changes; empty outside a repository.
        roles: names of the superuser, owner, app, backup and replication roles.
        settings: the server's settings in effect that a restore must match or exceed (manual 27.4.3), and its layout.
        files: every file of the backup but this one, by name.
        recipients: age recipients the files are encrypted to; empty where they are not.
        seconds: how long it took.
        identity: the hash that `base.json` carries; empty before it is written.
    """

    system_identifier: str
    incarnation: int
    part: str
    timeline: int
    start: str
    stop: str
    started: str
    stopped: str
    reason: str
    tool: str
    project: str
    checkout: str
    database: str
    engine: str
    runs: str
    postgres: str
    postgres_number: int
    extensions: dict[str, str]
    commit: str
    roles: dict[str, str]
    settings: dict[str, str]
    files: dict[str, PackedFile]
    recipients: list[str] = field(default_factory=list)
    seconds: float = 0.0
    format: int = FORMAT
    identity: str = ""

    @property
    def size(self) -> int:
        """Bytes on disk, this description aside."""
        return sum(file.size for file in self.files.values())

    @property
    def unpacked(self) -> int:
        """Bytes unpacked."""
        return sum(file.unpacked for file in self.files.values())


_KNOWN = frozenset(one.name for one in fields(BaseManifest))
_HINT = "invoke archive.verify"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """That a base backup was unpacked and every file of it compared with what the server had sent.

    Attributes:
        identity: the hash of the description it was proven for.
        when: UTC, ISO 8601.
        tool: drydock's version.
        seconds: how long it took.
    """

    identity: str
    when: str
    tool: str
    seconds: float


def write(manifest: BaseManifest, folder: Path) -> BaseManifest:
    """Write `base.json` with a hash of itself; returns the manifest with it."""
    document = {name: value for name, value in asdict(manifest).items() if name != "identity"}
    write_atomic(folder / FILE, hashed_json.text(document))
    return replace(manifest, identity=hashed_json.digest(document))


def read(folder: Path) -> BaseManifest:
    """The description of the base backup in `folder`.

    Raises:
        DrydockError: where it is missing, damaged or of a newer drydock.
    """
    path = folder / FILE
    try:
        document, identity = hashed_json.parse(path.read_bytes(), str(path), newest=FORMAT, hint=_HINT)
    except FileNotFoundError:
        raise DrydockError(f"{folder} has no {FILE}: it is no base backup.") from None
    values = {key: value for key, value in document.items() if key in _KNOWN}
    try:
        values["files"] = {name: PackedFile(**file) for name, file in values["files"].items()}
        return BaseManifest(**{**values, "identity": identity})
    except (TypeError, KeyError, AttributeError) as error:
        raise hashed_json.damaged(str(path), str(error), _HINT) from error


def write_proof(proof: Proof, folder: Path) -> None:
    """Write `proof.json`; whatever was found damaged is not any more."""
    write_atomic(folder / PROOF, json.dumps(asdict(proof), indent=1) + "\n")
    (folder / DAMAGE).unlink(missing_ok=True)


def note_damage(folder: Path, reason: str) -> None:
    """Have a backup count as damaged, and so as unproven, until it is proven again."""
    write_atomic(folder / DAMAGE, json.dumps({"reason": reason}, indent=1) + "\n")
    (folder / PROOF).unlink(missing_ok=True)


def read_damage(folder: Path) -> str:
    """What was found wrong with a backup, as a sentence; empty where nothing was."""
    try:
        return str(json.loads((folder / DAMAGE).read_bytes())["reason"])
    except FileNotFoundError:
        return ""
    except (ValueError, TypeError, KeyError):
        return f"{folder / DAMAGE} says so, and cannot be read."


def read_proof(folder: Path, manifest: BaseManifest) -> Proof | None:
    """The proof of just this backup; None where it is missing, unreadable or another one's: the backup is unproven."""
    try:
        proof = Proof(**json.loads((folder / PROOF).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return proof if proof.identity == manifest.identity else None
