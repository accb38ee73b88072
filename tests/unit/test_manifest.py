"""The manifest of a backup: read as it was written, by this drydock and by later ones."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drydock import hashed_json
from drydock.backup import catalogue, manifest
from drydock.errors import DrydockError
from tests.backups import make_backup

if TYPE_CHECKING:
    from pathlib import Path

EMPTY = manifest.Manifest(name="20261121T120000Z", sequence=1, made="")


def rewrite(folder: Path, change: dict[str, Any], *, without: tuple[str, ...] = ()) -> str:
    """Change a manifest as another drydock would have written it; returns its hash."""
    path = folder / manifest.FILE
    document = {name: value for name, value in json.loads(path.read_text()).items() if name not in {"sha256", *without}}
    document |= change
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps({**document, "sha256": digest}))
    return digest


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Every field comes back, and with it the hash that the file carries."""
    made = make_backup(tmp_path).manifest
    assert made is not None
    again = tmp_path / "again"
    again.mkdir()
    manifest.write(made, again)
    found = manifest.read(again)
    assert (found.tables, found.files, found.revisions) == (made.tables, made.files, made.revisions)
    assert found.identity == manifest.digest(made) == json.loads((again / manifest.FILE).read_text())["sha256"]


@settings(deadline=None)
@given(label=st.text(), facts=st.dictionaries(st.text(), st.text()), seconds=st.dictionaries(st.text(), st.floats()))
def test_the_hash_is_that_of_the_canonical_document(
    tmp_path_factory: pytest.TempPathFactory, label: str, facts: dict[str, str], seconds: dict[str, float]
) -> None:
    """Whatever stands in it: what is written carries the hash that every drydock expects, and is read by it."""
    folder = tmp_path_factory.mktemp("manifest")
    made = replace(EMPTY, label=label, settings=facts, seconds=seconds)
    manifest.write(made, folder)
    text = (folder / manifest.FILE).read_bytes()
    assert hashed_json.digest_of_text(text) == json.loads(text)["sha256"] == manifest.digest(made)
    assert manifest.read(folder).identity == manifest.digest(made)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """Wherever it is, in the layout too; as an earlier drydock laid it out, and as this one does."""
    entry = make_backup(tmp_path)
    assert entry.manifest
    for _ in range(2):
        text = (entry.path / manifest.FILE).read_bytes()
        manifest.parse(text, "whole")
        for place in range(len(text) * 8):
            flipped = bytearray(text)
            flipped[place // 8] ^= 1 << place % 8
            with pytest.raises(DrydockError, match=r"damaged|newer"):
                manifest.parse(bytes(flipped), str(place))
        manifest.write(entry.manifest, entry.path)


def test_a_field_that_came_later_costs_no_proof(tmp_path: Path) -> None:
    """A manifest without a field that is known today takes its default, and its proof still counts."""
    entry = make_backup(tmp_path)
    identity = rewrite(entry.path, {}, without=("redis_keys", "seconds"))
    proof = entry.path / catalogue.PROOF
    proof.write_text(json.dumps({**json.loads(proof.read_text()), "manifest": identity}))
    found = catalogue.at(entry.path)
    assert found.manifest is not None
    assert found.manifest.redis_keys is None
    assert found.proof is not None


def test_a_proof_of_other_content_does_not_count(tmp_path: Path) -> None:
    """A proof stands for the content it was made for, not for the folder."""
    entry = make_backup(tmp_path)
    rewrite(entry.path, {"label": "another"})
    assert catalogue.at(entry.path).proof is None


def test_a_newer_form_is_refused_politely(tmp_path: Path) -> None:
    """It names the drydock that wrote it, and what to do."""
    entry = make_backup(tmp_path)
    rewrite(entry.path, {"format": manifest.FORMAT + 1, "tool": "9.9"})
    with pytest.raises(DrydockError, match=r"newer drydock \(9\.9") as caught:
        manifest.read(entry.path)
    assert "Upgrade drydock" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"format": 1}', "\udcff"])
def test_what_is_no_manifest_is_a_sentence(tmp_path: Path, text: str) -> None:
    """Whatever stands in the file, the error names it."""
    entry = make_backup(tmp_path)
    (entry.path / manifest.FILE).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DrydockError, match=r"manifest\.json is damaged"):
        manifest.read(entry.path)
