"""Backups for tests of the catalogue: valid manifests and proofs, made without a server in a tenth of a millisecond."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from drydock.backup import manifest as manifests
from drydock.backup.catalogue import PIN, PROOF, Catalogue, Entry, Proof, record_proof
from drydock.backup.encryption import OPEN, Sealing
from drydock.backup.manifest import Manifest, PackedFile, TableContent
from drydock.backup.packing import pack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def make_backup(
    folder: Path,
    made: datetime = NOW,
    *,
    sequence: int = 1,
    proven: bool = True,
    pinned: str | None = None,
    **facts: Any,
) -> Entry:
    """A backup in the catalogue `folder`, as drydock writes it but for the fsync; `facts` go into its manifest."""
    stamp = made.astimezone(UTC)
    label = facts.get("label", "")
    name = stamp.strftime("%Y%m%dT%H%M%SZ") + (f"-{label}" if label else "")
    facts = {
        "tables": {"public.messages": TableContent(rows=1194, checksum="0" * 32)},
        "files": {"dump/toc.dat.zst": PackedFile(size=4096, sha256="0" * 64, unpacked=16384)},
        "database": "app",
        "postgres": "16.14",
        "extensions": {"vector": "0.8.1"},
        "revisions": ["0005"],
        **facts,
    }
    manifest = Manifest(name=name, sequence=sequence, made=stamp.isoformat(timespec="seconds"), **facts)
    path = folder / name
    path.mkdir(parents=True)
    document = manifests.document_of(manifest)
    (path / manifests.FILE).write_text(json.dumps({**document, "sha256": manifests.digest(manifest)}))
    if proven:
        proof = Proof(
            manifest=manifests.digest(manifest), when=manifest.made, tool="0.1.0", restore_seconds=1, compare_seconds=1
        )
        (path / PROOF).write_text(json.dumps(asdict(proof)))
    if pinned is not None:
        (path / PIN).write_text(json.dumps({"reason": pinned}))
    return Entry(path, manifest)


def make_packed(
    catalogue: Catalogue, label: str = "", *, content: Mapping[str, bytes], sealing: Sealing = OPEN
) -> Entry:
    """A backup whose files are packed from `content`, as drydock writes it."""
    with catalogue.writing(label, NOW) as draft:
        files = {}
        for name, data in content.items():
            path = draft.path / sealing.name(name)
            path.parent.mkdir(exist_ok=True)
            files[sealing.name(name)] = pack(io.BytesIO(data), path, sealing)
        return draft.finish(
            Manifest(name="", sequence=0, made="", files=files, recipients=list(sealing.recipients), database="app")
        )


def prove(entry: Entry) -> None:
    """Record a proof of what the manifest says, as if it had been restored."""
    assert entry.manifest
    when = Proof(manifest=manifests.digest(entry.manifest), when="2026", tool="0", restore_seconds=1, compare_seconds=1)
    record_proof(entry, when)


def make_many(folder: Path, count: int, *, every: timedelta = timedelta(hours=8), **facts: Any) -> list[Entry]:
    """`count` backups, the newest made at NOW and the others before it; oldest first."""
    return [
        make_backup(folder, NOW - every * (count - sequence), sequence=sequence, **facts)
        for sequence in range(1, count + 1)
    ]
