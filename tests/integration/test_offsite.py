from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from drydock.backup import manifest
from drydock.backup.catalogue import Catalogue, pin
from drydock.backup.encryption import OPEN, Sealing
from drydock.backup.manifest import Manifest
from drydock.backup.offsite import object_store, remote
from drydock.backup.offsite.object_store import RepositoryError, UnreachableError
from drydock.backup.offsite.pull import pull
from drydock.backup.offsite.push import push
from drydock.backup.offsite.remote import Listed
from drydock.backup.packing import unpack
from drydock.errors import BusyError, DrydockError, SettingsError
from drydock.tasks.backup_offsite import _row
from tests import small_disk
from tests.backups import NOW, make_packed, prove
from tests.checkout import Checkout
from tests.proxy import Proxy
from tests.s3 import BUCKET, SECRET, SERVERS, Store, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from drydock.backup.catalogue import Entry
    from drydock.backup.offsite.remote import Remote

Result = TypeVar("Result")
# Small enough that a file of a hundred kilobytes is several objects.
PIECE = 40_000
CONTENT = {"dump/toc.dat": b"toc", "dump/1.dat.zst": b"one" * 99, "dump/2.dat": os.urandom(100_000), "empty.zst": b""}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pieces, and one more try after a lost connection."""
    monkeypatch.setattr(remote, "PIECE", PIECE)
    monkeypatch.setattr(object_store, "RETRIES", 1)


@pytest.fixture(scope="module", params=["folder", *SERVERS])
def anywhere(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A plain folder, and each server."""
    folder = tmp_path_factory.mktemp("store")
    plain = Store(str(folder / "team's backups"), folder / "team's backups")
    with nullcontext(plain) if request.param == "folder" else serving(request.param, folder) as store:
        yield store


@pytest.fixture
def store(anywhere: Store, request: pytest.FixtureRequest) -> Store:
    """The same place with a prefix of the test's own."""
    anywhere.folder.mkdir(parents=True, exist_ok=True)
    return anywhere.below(request.node.name)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The server that honours `If-None-Match`."""
    with serving("localbucket", tmp_path_factory.mktemp("s3")) as store:
        yield store


@pytest.fixture
def own_s3(s3: Store, request: pytest.FixtureRequest) -> Store:
    """That server with a prefix of the test's own."""
    return s3.below(request.node.name)


@pytest.fixture
def here(tmp_path: Path) -> Catalogue:
    """The catalogue backups are sent from."""
    return Catalogue(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Catalogue:
    """The catalogue of somebody else, still empty."""
    return Catalogue(tmp_path / "there")


def make(
    catalogue: Catalogue, label: str = "", content: Mapping[str, bytes] = CONTENT, sealing: Sealing = OPEN
) -> Entry:
    """A real backup, but for Postgres."""
    return make_packed(catalogue, label, content=content, sealing=sealing)


def content(entry: Entry) -> dict[str, bytes]:
    """Every file of a backup's folder."""
    return {str(path.relative_to(entry.path)): path.read_bytes() for path in entry.path.rglob("*") if path.is_file()}


def test_a_backup_comes_back_as_it_was(store: Store, here: Catalogue, there: Catalogue) -> None:
    """What was pushed is listed and pulled byte for byte, proof included, private; a second time nothing is sent."""
    entry = make(here, "friday")
    prove(entry)
    assert entry.manifest
    size = entry.manifest.size
    seen: list[tuple[int, int]] = []
    first = push(entry, store.remote(), lambda done, total: seen.append((done, total)))
    assert (first.sent, first.there, seen[-1]) == (size, 0, (size, size))
    assert store.remote().names() == [entry.name]
    pulled = pull("friday", store.remote(), there)
    assert (pulled.fetched, pulled.here, content(pulled.entry)) == (size, 0, content(entry))
    assert there.find("latest").proof == entry.proof is not None
    assert {path.stat().st_mode & 0o077 for path in pulled.entry.path.rglob("*")} == {0}
    again = push(entry, store.remote())
    assert (again.sent, again.there) == (0, size)
    assert pull("latest", store.remote(), there).fetched == 0


def test_large_files_are_put_together_by_cat(store: Store, here: Catalogue) -> None:
    """Without drydock a file is its parts in the order of their names; no object is larger than a piece."""
    entry = make(here)
    push(entry, store.remote())
    parts = sorted(path for name, path in store.files().items() if "/dump/2.dat" in name)
    assert [path.stat().st_size for path in parts] == [PIECE, PIECE, 20_000]
    # As a push that was killed leaves it in a folder, beside what the next one made of it.
    parts[0].with_name(f"{parts[0].name}#1").write_bytes(b"beginning")
    cat = subprocess.run(["sh", "-c", "cat 2.dat.part-?????"], cwd=parts[0].parent, check=True, capture_output=True)
    assert cat.stdout == CONTENT["dump/2.dat"]


def test_an_encrypted_backup_travels_as_it_is(own_s3: Store, here: Catalogue, there: Catalogue, tmp_path: Path) -> None:
    """The ciphertext is what is sent: the repository learns nothing, and neither push nor pull needs the key."""
    import pyrage

    key = pyrage.x25519.Identity.generate()
    (tmp_path / "key.age").write_text(str(key))
    (tmp_path / "key.age").chmod(0o600)
    sealing = Sealing((str(key.to_public()),), tmp_path / "key.age")
    push(make(here, sealing=sealing, content={"rows.zst": b"a secret row" * 99}), own_s3.remote())
    assert not any(b"secret row" in path.read_bytes() for path in own_s3.files().values())
    entry = pull("latest", own_s3.remote(), there).entry
    assert entry.manifest
    target = io.BytesIO()
    unpack(entry.path / "rows.zst.age", target, entry.manifest.files["rows.zst.age"], sealing)
    assert target.getvalue() == b"a secret row" * 99


def test_what_is_damaged_here_is_not_sent(store: Store, here: Catalogue) -> None:
    """One changed byte in one file: the sentence names it, the repository stays empty, and it is no longer proven."""
    entry = make(here)
    prove(entry)
    path = entry.path / "dump/2.dat"
    *before, last = path.read_bytes()
    path.write_bytes(bytes((*before, last ^ 1)))
    with pytest.raises(DrydockError, match=r"2\.dat is damaged"):
        push(entry, store.remote())
    assert not store.files()
    assert here.find(entry.name).proof is None


def test_an_unusable_backup_is_not_sent(own_s3: Store, here: Catalogue) -> None:
    """A backup without a readable manifest is refused with its problem."""
    entry = make(here)
    (entry.path / "manifest.json").write_text("{}")
    with pytest.raises(DrydockError, match="cannot be used"):
        push(here.entries()[0], own_s3.remote())
    assert not own_s3.files()


@pytest.mark.parametrize("harm", ["altered", "truncated", "missing", "grown"])
@pytest.mark.parametrize("which", ["1.dat.zst", "2.dat.part-00001", "2.dat.part-00002"])
def test_harm_in_the_repository_is_found(
    store: Store, here: Catalogue, there: Catalogue, harm: str, which: str
) -> None:
    """An object altered, cut, enlarged or removed: nothing half is shown here, and nothing is replaced there."""
    entry = make(here)
    push(entry, store.remote())
    name, path = next(item for item in store.files().items() if item[0].endswith(which))
    sound = path.read_bytes()
    spoiled = {"altered": b"?" + sound[1:], "truncated": sound[:-1], "missing": None, "grown": sound + b"?"}[harm]
    store.spoil(name, spoiled)
    with pytest.raises(DrydockError, match=f"{which[:5]}.*cannot be fetched"):
        pull("latest", store.remote(), there)
    assert there.entries() == []
    if spoiled is None:
        assert push(entry, store.remote()).sent == len(sound)
    else:
        with pytest.raises(DrydockError, match="holds something else"):
            push(entry, store.remote())
        assert path.read_bytes() == spoiled
        store.spoil(name, sound)
    assert content(pull("latest", store.remote(), there).entry) == content(entry)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is damaged"),
        ('{"format": 99, "tool": "9.9"}', r"newer drydock \(9\.9, format 99"),
        ('{"name": "x", "sha256": "0"}', "does not match its own hash"),
    ],
)
def test_a_damaged_manifest_there_is_named(
    own_s3: Store, here: Catalogue, there: Catalogue, text: str, said: str
) -> None:
    """A manifest in the repository is judged like one here."""
    entry = make(here)
    push(entry, own_s3.remote())
    (own_s3.folder / f"manifests/{entry.name}.json").write_text(text)
    with pytest.raises(DrydockError, match=said):
        pull("latest", own_s3.remote(), there)
    with pytest.raises(DrydockError, match=said):
        push(entry, own_s3.remote())


def test_a_damaged_manifest_there_hides_no_other(checkout: Checkout, own_s3: Store) -> None:
    """The listing has the sound ones, and of the damaged one its name and what is wrong with it."""
    made = Catalogue(checkout.root / "backups/dumps")
    first, second = make(made, "monday"), make(made, "tuesday")
    checkout.run("backup.push", "--all")
    (own_s3.folder / f"manifests/{second.name}.json").write_text("{")
    broken, sound = checkout.json("backup.remote")["backups"]
    assert (sound["name"], sound["problem"]) == (first.name, "")
    assert broken["name"] == second.name
    assert "is damaged" in broken["problem"]
    said = checkout.run("backup.remote").stdout
    assert f"{first.name}  " in said
    assert "unusable: " in said


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "./a", "a//b"])
def test_a_manifest_cannot_write_outside_of_its_folder(own_s3: Store, there: Catalogue, name: str) -> None:
    """Whoever may write into the repository may not write anywhere else here."""
    harmful = Manifest(
        name="20261121T120000Z", sequence=1, made="", files={name: manifest.PackedFile(size=1, sha256="", unpacked=1)}
    )
    path = own_s3.folder / "manifests/20261121T120000Z.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**manifest.document_of(harmful), "sha256": manifest.digest(harmful)}))
    with pytest.raises(DrydockError, match="cannot be the name of a file"):
        pull("latest", own_s3.remote(), there)
    assert not there.folder.exists()


def test_another_backup_of_the_same_name_is_refused(
    store: Store, here: Catalogue, there: Catalogue, tmp_path: Path
) -> None:
    """Two checkouts made a backup in the same second: the second one is told, and nothing of it is sent or replaced."""
    first, second = make(here), make(Catalogue(tmp_path / "other"), content={"a": b"another"})
    push(first, store.remote())
    before = {name: path.read_bytes() for name, path in store.files().items()}
    with pytest.raises(DrydockError, match=f"another backup called {first.name}.*Nothing was sent"):
        push(second, store.remote())
    assert {name: path.read_bytes() for name, path in store.files().items()} == before
    with pytest.raises(DrydockError, match="another backup of the same name"):
        pull("latest", store.remote(), Catalogue(tmp_path / "other"))
    assert content(pull("latest", store.remote(), there).entry) == content(first)


def test_two_writers_of_the_same_backup_both_end_well(store: Store, here: Catalogue, there: Catalogue) -> None:
    """At the same moment, object by object: what the other one wrote is as good."""
    entry = make(here)
    prove(entry)
    for _ in _at_once(lambda: push(entry, store.remote()), 4):
        pass
    assert content(pull("latest", store.remote(), there).entry) == content(entry)


def test_two_writers_of_one_name_never_mix(own_s3: Store, tmp_path: Path) -> None:
    """Different backups of one name at the same moment: one is there, whole, and everybody else is told."""
    entries = [
        make(Catalogue(tmp_path / f"c{n}"), content={"a": os.urandom(1000), "b": os.urandom(50_000)}) for n in range(4)
    ]
    left = list(entries)
    lock = threading.Lock()

    def one() -> str:
        with lock:
            entry = left.pop()
        try:
            push(entry, own_s3.remote())
        except DrydockError as error:
            return error.message
        return ""

    said = list(_at_once(one, 4))
    assert sorted(map(bool, said)) == [False, True, True, True]
    assert all("another backup" in text or "something else" in text for text in said if text)
    pulled = pull("latest", own_s3.remote(), Catalogue(tmp_path / "there")).entry
    assert content(pulled) in [content(entry) for entry in entries]


def _at_once(work: Callable[[], Result], count: int) -> Iterator[Result]:
    barrier = threading.Barrier(count)

    def begin() -> Result:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(count) as pool:
        yield from [future.result() for future in [pool.submit(begin) for _ in range(count)]]


def test_a_push_cut_anywhere_goes_on(own_s3: Store, here: Catalogue, there: Catalogue) -> None:
    """The connection ends after 300 B, 450 B, … : no half backup is listed, and what was stored stays stored."""
    entry = make(here)
    stored: list[int] = []
    with _cut_ever_later(own_s3, 1.5) as (proxied, cuts):
        while _is_cut(lambda: push(entry, proxied)):
            stored.append(len(own_s3.files()))
            if own_s3.remote().names():
                assert content(pull("latest", own_s3.remote(), there).entry) == content(entry)
            cuts()
    assert stored == sorted(stored)
    assert len(stored) > 8
    assert push(entry, own_s3.remote()).sent == 0
    assert content(pull("latest", own_s3.remote(), there).entry) == content(entry)


@contextmanager
def _cut_ever_later(store: Store, factor: float) -> Iterator[tuple[Remote, Callable[[], None]]]:
    """The repository by way of a proxy that ends connections after a few bytes; the function lets more by."""
    limit = 300.0

    def later() -> None:
        nonlocal limit
        proxy.budget = limit = limit * factor

    with Proxy(f"http://127.0.0.1:{store.port}") as proxy:
        proxy.budget = limit
        yield store.remote(port=proxy.port), later


def _is_cut(work: Callable[[], object]) -> bool:
    """True where the work failed for its connection, in one sentence that says how to go on."""
    try:
        work()
    except UnreachableError as error:
        return "Run it again" in error.hint and "\n" not in error.message
    return False


def test_what_was_sent_before_the_cut_is_not_sent_again(own_s3: Store, here: Catalogue) -> None:
    """After a cut the next push sends only the rest."""
    entry = make(here)
    assert entry.manifest
    with Proxy(f"http://127.0.0.1:{own_s3.port}") as proxy:
        proxy.budget = 90_000
        with pytest.raises(DrydockError, match="could not be used"):
            push(entry, own_s3.remote(port=proxy.port))
    there = sum(path.stat().st_size for path in own_s3.files().values())
    assert there > 0
    second = push(entry, own_s3.remote())
    assert (second.there, second.sent) == (there, entry.manifest.size - there)


def test_a_pull_cut_anywhere_goes_on(own_s3: Store, here: Catalogue, there: Catalogue) -> None:
    """The connection ends ever later: nothing is shown until all is there, and no piece is fetched twice."""
    entry = make(here)
    push(entry, own_s3.remote())
    cuts = 0
    with _cut_ever_later(own_s3, 1.2) as (proxied, later):
        while _is_cut(lambda: pull("latest", proxied, there)):
            cuts += 1
            assert there.entries() == []
            later()
    assert cuts > 5
    pulled = pull("latest", own_s3.remote(), there)
    assert content(pulled.entry) == content(entry)
    assert [path.name for path in there.folder.iterdir()] == [entry.name]


def test_what_was_fetched_before_the_harm_is_not_fetched_again(
    own_s3: Store, here: Catalogue, there: Catalogue
) -> None:
    """A pull that failed on one object goes on with the others' pieces in place."""
    entry = make(here)
    push(entry, own_s3.remote())
    path = next(path for name, path in own_s3.files().items() if name.endswith("part-00002"))
    sound = path.read_bytes()
    path.write_bytes(b"?" + sound[1:])
    with pytest.raises(DrydockError, match="is not what was backed up"):
        pull("latest", own_s3.remote(), there)
    path.write_bytes(sound)
    pulled = pull("latest", own_s3.remote(), there)
    assert pulled.fetched == len(sound)
    assert content(pulled.entry) == content(entry)


@pytest.mark.parametrize("harm", ["altered", "truncated", "missing", "grown"])
def test_what_is_damaged_here_is_repaired(own_s3: Store, here: Catalogue, there: Catalogue, harm: str) -> None:
    """Of a backup that is here only the files that are missing or differ are fetched; nothing is left beside it."""
    entry = make(here)
    prove(entry)
    push(entry, own_s3.remote())
    copy = pull("latest", own_s3.remote(), there).entry
    pin(copy, "ours")
    sound = (copy.path / "dump/2.dat").read_bytes()
    spoiled = {"altered": b"?" + sound[1:], "truncated": sound[:-1], "missing": None, "grown": sound + b"?"}[harm]
    (copy.path / "dump/2.dat").unlink()
    if spoiled is not None:
        (copy.path / "dump/2.dat").write_bytes(spoiled)
    pulled = pull("latest", own_s3.remote(), there)
    assert (pulled.repaired, pulled.fetched) == (["dump/2.dat"], len(sound))
    assert entry.manifest
    assert pulled.here == entry.manifest.size - len(sound)
    (pulled.entry.path / "pin.json").unlink()
    assert content(pulled.entry) == content(entry)
    assert [path.name for path in there.folder.iterdir()] == [entry.name]
    again = pull("latest", own_s3.remote(), there)
    assert (again.repaired, again.fetched) == ([], 0)
    assert [path.name for path in there.folder.iterdir()] == [entry.name]


def test_a_whole_folder_and_the_proof_are_repaired(own_s3: Store, here: Catalogue, there: Catalogue) -> None:
    """All files are gone but the manifest: they come back private, with the proof."""
    entry = make(here)
    prove(entry)
    push(entry, own_s3.remote())
    copy = pull("latest", own_s3.remote(), there).entry
    shutil.rmtree(copy.path / "dump")
    (copy.path / "empty.zst").unlink()
    (copy.path / "proof.json").unlink()
    assert len(pull("latest", own_s3.remote(), there).repaired) == len(CONTENT)
    assert content(copy) == content(entry)
    assert {path.stat().st_mode & 0o077 for path in copy.path.rglob("*")} == {0}


def test_a_damaged_manifest_is_repaired_where_the_files_are_theirs(
    own_s3: Store, here: Catalogue, there: Catalogue
) -> None:
    """A file that the repository has not got keeps its folder as it is: it may be another backup's last."""
    entry = make(here)
    push(entry, own_s3.remote())
    copy = pull("latest", own_s3.remote(), there).entry
    (copy.path / "manifest.json").write_text("{")
    (copy.path / "dump/1.dat.zst").unlink()
    (copy.path / "dump/3.dat").write_bytes(b"of another backup")
    before = content(copy)
    with pytest.raises(DrydockError, match="another backup of the same name"):
        pull("latest", own_s3.remote(), there)
    assert content(copy) == before
    (copy.path / "dump/3.dat").unlink()
    pulled = pull("latest", own_s3.remote(), there)
    assert pulled.repaired == ["dump/1.dat.zst", "manifest.json"]
    assert content(pulled.entry) == content(entry)


def test_what_cannot_be_repaired_is_left_as_it_is(own_s3: Store, here: Catalogue, there: Catalogue) -> None:
    """Damaged here and there: the object there is named, and the file here is not replaced."""
    entry = make(here)
    push(entry, own_s3.remote())
    copy = pull("latest", own_s3.remote(), there).entry
    (copy.path / "dump/2.dat").write_bytes(b"cut")
    before = content(copy)
    path = next(path for name, path in own_s3.files().items() if name.endswith("2.dat.part-00001"))
    path.write_bytes(b"?" + path.read_bytes()[1:])
    with pytest.raises(DrydockError, match=r"2\.dat.*cannot be fetched"):
        pull("latest", own_s3.remote(), there)
    assert content(copy) == before


def test_the_way_out_of_another_backup_s_way_can_be_typed(own_s3: Store, here: Catalogue, tmp_path: Path) -> None:
    """The command that is printed works where the path has quotes and spaces."""
    push(make(here), own_s3.remote())
    other = Catalogue(tmp_path / 'somebody\'s "own" copies')
    entry = make(other, content={"a": b"another"})
    with pytest.raises(DrydockError, match="another backup of the same name") as caught:
        pull("latest", own_s3.remote(), other)
    (tmp_path / "elsewhere").mkdir()
    command = caught.value.hint.partition(": ")[2]
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    assert (tmp_path / "elsewhere" / entry.name / "a").read_bytes() == b"another"


def test_a_full_disk_here_is_not_the_repository_s_fault(own_s3: Store, here: Catalogue, tmp_path: Path) -> None:
    """Where the last bytes of a piece find no room, that is said, of the file here; with room the pull goes on."""
    entry = make(here, content={"a": os.urandom(PIECE), "b": os.urandom(4 * PIECE)})
    push(entry, own_s3.remote())
    disk = tmp_path / "disk"
    there = Catalogue(disk / "dumps")
    with small_disk.mounted(disk, 1):
        (disk / "filler").write_bytes(bytes((1 << 20) - 4 * PIECE - 20_000))
        with pytest.raises(DrydockError, match="could not be written: No space left") as caught:
            pull("latest", own_s3.remote(), there)
        assert str(there.folder) in caught.value.message
        assert "goes on" in caught.value.hint
        assert there.entries() == []
        small_disk.remount(disk, "size=9m")
        pulled = pull("latest", own_s3.remote(), there)
        assert pulled.here > 0
        assert content(pulled.entry) == content(entry)


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[]", b'{"manifest": "of another"}'])
def test_a_damaged_proof_there_proves_nothing(own_s3: Store, here: Catalogue, there: Catalogue, text: bytes) -> None:
    """The backup is fetched, and is unproven."""
    entry = make(here)
    prove(entry)
    push(entry, own_s3.remote())
    next(path for name, path in own_s3.files().items() if name.startswith("proofs/")).write_bytes(text)
    assert pull("latest", own_s3.remote(), there).entry.proof is None
    assert not (there.find("latest").path / "proof.json").exists()


def test_a_server_that_hangs_up_forever_is_one_sentence(own_s3: Store, here: Catalogue) -> None:
    """Nothing listens at the endpoint: the address is named, and how to go on."""
    with pytest.raises(DrydockError, match=f"{own_s3.address} could not be used: ") as caught:
        push(make(here), own_s3.remote(port=1))
    assert "Run it again" in caught.value.hint
    assert "\n" not in caught.value.message


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The server that checks signatures."""
    with serving("nanio", tmp_path_factory.mktemp("strict")) as store:
        yield store


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong-secret-word"), ("AWS_ACCESS_KEY_ID", "nobody")]
)
def test_wrong_credentials_are_named_and_not_shown(
    strict: Store, here: Catalogue, there: Catalogue, name: str, value: str
) -> None:
    """A refused signature or key: the variables to look at; no secret in the sentence."""
    refused = strict.remote(variables={name: value})
    for work in (lambda: push(make(here), refused), lambda: pull("latest", refused, there)):
        with pytest.raises(DrydockError, match=f"s3://{BUCKET} refuses these credentials") as caught:
            work()
        assert "AWS_SECRET_ACCESS_KEY" in caught.value.hint
        assert SECRET not in str(caught.value)
        assert value not in str(caught.value)


@pytest.mark.parametrize("server", SERVERS)
def test_a_missing_bucket_is_named(server: str, request: pytest.FixtureRequest, here: Catalogue) -> None:
    """A typing error in the bucket's name is said for what it is."""
    found: Store = request.getfixturevalue({"localbucket": "s3", "nanio": "strict"}[server])
    wrong = Store("s3://nosuchbucket/x", found.folder, found.variables, found.port)
    with pytest.raises(DrydockError, match=r"There is no s3://nosuchbucket\."):
        push(make(here), wrong.remote())
    with pytest.raises(DrydockError, match=r"There is no s3://nosuchbucket\."):
        wrong.remote().names()


def test_a_key_without_its_secret_is_one_sentence(s3: Store) -> None:
    """Half the credentials are found before anything is sent."""
    variables = {name: value for name, value in s3.variables.items() if name != "AWS_SECRET_ACCESS_KEY"}
    with pytest.raises(SettingsError, match="Missing SecretAccessKey"):
        Store(s3.address, s3.folder, variables).remote()
    with pytest.raises(SettingsError, match="Account must be specified") as caught:
        Store("az://container/x", s3.folder, {}).remote()
    assert ".env" in caught.value.hint


def test_a_drive_that_is_not_mounted_is_not_filled(tmp_path: Path) -> None:
    """A folder whose parent does not exist is refused: it would be made on the wrong disk."""
    with pytest.raises(SettingsError, match="there is no folder") as caught:
        Store(str(tmp_path / "drive/backups"), tmp_path).remote()
    assert "mounted" in caught.value.hint
    assert not (tmp_path / "drive").exists()


def test_looking_makes_no_folder(tmp_path: Path, here: Catalogue, there: Catalogue) -> None:
    """A repository that does not exist is an empty one, until something is written to it."""
    looking, writing = (Store(str(tmp_path / "repository"), tmp_path).remote() for _ in range(2))
    assert (looking.listing(), looking.document("20261121T120000Z")) == ([], None)
    with pytest.raises(DrydockError, match="There is no backup in"):
        pull("latest", looking, there)
    assert not (tmp_path / "repository").exists()
    entry = make(here)
    push(entry, writing)
    assert looking.names() == [entry.name]


def test_a_file_in_the_place_of_the_folder_is_one_sentence(tmp_path: Path) -> None:
    """A repository that is no folder says so, and which setting names it."""
    (tmp_path / "repository").write_text("a file, not a folder")
    with pytest.raises(UnreachableError, match=f"{tmp_path}/repository could not be used: File exists") as caught:
        Store(str(tmp_path / "repository"), tmp_path).remote()
    assert "BACKUP_REPOSITORY" in caught.value.hint


def test_a_disk_that_is_full_or_read_only_is_one_sentence(tmp_path: Path, here: Catalogue, there: Catalogue) -> None:
    """What to do there is said, not to run it again as it is; with room the same push goes on where it was."""
    share = tmp_path / "share"
    store, entry = Store(str(share / "repository"), share), make(here, content={"a": os.urandom(3 << 20)})
    with small_disk.mounted(share, 1):
        with pytest.raises(UnreachableError, match="No space left") as caught:
            push(entry, store.remote())
        assert "Make room there" in caught.value.hint
        assert store.remote().names() == []
        small_disk.remount(share, "size=9m")
        assert push(entry, store.remote()).there > 0
        small_disk.remount(share, "ro")
        with pytest.raises(UnreachableError, match="Read-only file system") as caught:
            push(make(here, "another"), store.remote())
        assert "can be written to" in caught.value.hint
        assert content(pull("latest", store.remote(), there).entry) == content(entry)
        with pytest.raises(UnreachableError, match="Read-only file system"):
            Store(str(share / "other"), share).remote().repository.create("name", b"content")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("latest", "20261123T120000Z"),
        ("20261121T120000Z-monday", "20261121T120000Z-monday"),
        ("20261122", "20261122T120000Z-tuesday"),
        ("tuesday", "20261122T120000Z-tuesday"),
        ("2026", "fits 3 backups"),
        ("munday", "Did you mean monday"),
        ("nothing like it", "There is no backup called"),
    ],
)
def test_a_backup_is_found_as_here(own_s3: Store, wanted: str, found: str) -> None:
    """By name, by a beginning, by label, or the latest; what is near or fits too is named."""
    folder = own_s3.folder / "manifests"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("20261121T120000Z-monday", "20261122T120000Z-tuesday", "20261123T120000Z"):
        manifest.write(Manifest(name=name, sequence=0, made=""), folder)
        (folder / manifest.FILE).rename(folder / f"{name}.json")
    (folder / "readme.txt").touch()
    remote = own_s3.remote()
    if found in remote.names():
        assert remote.find(wanted) == found
    else:
        with pytest.raises(DrydockError, match=found):
            remote.find(wanted)


def test_an_empty_repository_is_one_sentence(store: Store, there: Catalogue) -> None:
    """Nothing was pushed yet: the command that does."""
    with pytest.raises(DrydockError, match="There is no backup in") as caught:
        pull("latest", store.remote(), there)
    assert caught.value.hint == "invoke backup.push"


def test_the_newest_is_told_by_its_name(own_s3: Store, here: Catalogue) -> None:
    """What was pushed last need not be the latest: no object's age decides."""
    for day in (2, 1):
        with here.writing("", NOW - timedelta(days=day)) as draft:
            entry = draft.finish(Manifest(name="", sequence=0, made=""))
        push(entry, own_s3.remote())
    assert own_s3.remote().names() == ["20261120T120000Z", "20261119T120000Z"]


def test_the_latest_there_is_the_newest_whole_one(own_s3: Store, here: Catalogue) -> None:
    """A backup of the schema alone, or of single tables, is the latest only where there is no other."""
    whole = Manifest(name="", sequence=0, made="")
    parts = [replace(whole, schema_only=True), replace(whole, tables_only=["public.users"])]
    for days, made in enumerate((*parts, whole, whole)):
        with here.writing("", NOW - timedelta(days=days)) as draft:
            push(draft.finish(made), own_s3.remote())
        assert own_s3.remote().find("latest") == ("20261121T120000Z" if days < 2 else "20261119T120000Z")


def test_two_pulls_of_one_backup_do_not_meet(own_s3: Store, here: Catalogue, there: Catalogue) -> None:
    """While one task fetches a backup, another that wants the same one is told; it starts once the first has ended."""
    entry = make(here)
    push(entry, own_s3.remote())
    with there.receiving(entry.name), pytest.raises(BusyError, match=f"fetching {entry.name}"):
        pull("latest", own_s3.remote(), there)
    assert content(pull("latest", own_s3.remote(), there).entry) == content(entry)


def test_what_a_killed_pull_left_is_cleared_by_the_next_one(own_s3: Store, here: Catalogue, there: Catalogue) -> None:
    """Fetching another backup removes what nobody goes on with."""
    push(make(here), own_s3.remote())
    with there.receiving("20200101T000000Z") as arrival:
        (arrival.path / "half").write_text("half")
    entry = pull("latest", own_s3.remote(), there).entry
    assert [path.name for path in there.folder.iterdir()] == [entry.name]


def test_memory_does_not_grow_with_the_size(own_s3: Store, here: Catalogue, there: Catalogue) -> None:
    """A file of 200 MB travels both ways with less than 150 MB in memory, all libraries included."""
    program = """
import json, pathlib, resource, sys
from datetime import UTC, datetime
from drydock.backup.catalogue import Catalogue, pin
from drydock.backup.manifest import Manifest
from drydock.backup.offsite.object_store import Repository
from drydock.backup.packing import pack
from drydock.backup.offsite.pull import pull
from drydock.backup.offsite.push import push
from drydock.backup.offsite.remote import Remote
address, variables, here, there = sys.argv[1:]
remote = Remote(Repository(address, json.loads(variables)))
with Catalogue(pathlib.Path(here)).writing("", datetime.now(UTC)) as draft:
    sparse = draft.path / ".sparse"
    sparse.touch()
    with sparse.open("r+b") as stream:
        stream.truncate(200 << 20)
        packed = pack(stream, draft.path / "large")
    sparse.unlink()
    draft.finish(Manifest(name="", sequence=0, made="", files={"large": packed}))
push(Catalogue(pathlib.Path(here)).find("latest"), remote)
pull("latest", remote, Catalogue(pathlib.Path(there)))
status = pathlib.Path("/proc/self/status")
if status.exists():  # Linux counts what the parent had before exec into ru_maxrss, not into the new program's own peak
    print(int(status.read_text().partition("VmHWM:")[2].split()[0]) << 10)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    words = [own_s3.address, json.dumps(own_s3.variables), str(here.folder), str(there.folder)]
    run = subprocess.run([sys.executable, "-c", program, *words], check=True, capture_output=True, text=True)
    assert int(run.stdout) < 150 << 20


@pytest.fixture
def checkout(tmp_path: Path, own_s3: Store) -> Checkout:
    """A checkout whose repository is the server's."""
    return Checkout(tmp_path / "a checkout", BACKUP_REPOSITORY=own_s3.address, HOME=str(tmp_path), **own_s3.variables)


def test_the_tasks_on_a_team_s_day(checkout: Checkout, tmp_path: Path, own_s3: Store) -> None:
    """One pushes all there is, the other lists and pulls; neither needs servers. Plain rows do not leave unnoticed."""
    made = Catalogue(checkout.root / "backups/dumps")
    first, second = make(made, "monday"), make(made, "tuesday")
    prove(second)
    said = checkout.run("backup.push", "monday")
    assert "not encrypted" in said.stderr
    assert f"{first.name} is in {own_s3.address}" in said.stdout
    assert [item["name"] for item in checkout.json("backup.push", "--all")["pushed"]] == [first.name, second.name]
    other = Checkout(tmp_path / "other", **checkout.environ)
    listed = other.json("backup.remote")["backups"]
    assert [(item["name"], item["proven"]) for item in listed] == [(second.name, True), (first.name, False)]
    assert f"invoke restore {second.name}" in other.run("backup.pull").stdout
    assert content(Catalogue(other.root / "backups/dumps").find("latest")) == content(second)
    (other.root / "backups/dumps" / second.name / "dump/1.dat.zst").unlink()
    assert "1 damaged or missing file repaired." in other.run("backup.pull").stdout
    assert other.json("backup.pull")["repaired"] == []
    assert content(Catalogue(other.root / "backups/dumps").find("latest")) == content(second)
    assert SECRET not in said.stdout + said.stderr


def test_a_backup_may_have_one_row() -> None:
    """The listing has words for people."""
    assert [_row(Listed(name="friday", rows=rows))[2] for rows in (0, 1, 1194)] == ["0 rows", "1 row", "1,194 rows"]


def test_one_damaged_backup_does_not_keep_the_others_here(checkout: Checkout, own_s3: Store) -> None:
    """--all sends the sound ones, older and newer; one document says what was sent and what failed."""
    made = Catalogue(checkout.root / "backups/dumps")
    first, second, third = make(made, "monday"), make(made, "tuesday"), make(made, "wednesday")
    (second.path / "dump/2.dat").write_bytes(b"cut")
    said = checkout.run("backup.push", "--all", "--json", code=1)
    told = json.loads(said.stdout)
    assert [item["name"] for item in told["pushed"]] == [first.name, third.name] == own_s3.remote().names()[::-1]
    assert list(told["failed"]) == [second.name]
    assert told["failed"][second.name] in said.stderr
    assert "2.dat is damaged" in said.stderr
    assert told["not_tried"] == []
    said = checkout.run("backup.push", "--all", code=1)
    assert f"{third.name} is in" in said.stdout
    assert "1 of 3 backups was not sent." in said.stderr
    assert "error" in checkout.json("backup.push", "tuesday", code=1)


def test_a_file_that_cannot_be_read_is_of_one_backup(own_s3: Store, here: Catalogue) -> None:
    """What the operating system refuses here is one sentence that names the file, and not about the repository."""
    unreadable = Path("/proc/self/mem")  # for root too
    if not unreadable.exists():
        pytest.skip("only Linux has a file whose first byte nobody can read")
    entry = make(here, content={"dump/2.dat": b""})
    (entry.path / "dump/2.dat").unlink()
    (entry.path / "dump/2.dat").symlink_to(unreadable)
    with pytest.raises(DrydockError, match=r"2\.dat cannot be read: ") as caught:
        push(entry, own_s3.remote())
    assert not isinstance(caught.value, RepositoryError)
    assert not own_s3.files()


@pytest.mark.parametrize(
    ("variables", "said"),
    [({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "could not be used"), ({"AWS_SECRET_ACCESS_KEY": "x"}, "refuses")],
)
def test_what_concerns_the_whole_repository_stops_at_once(
    checkout: Checkout, strict: Store, variables: dict[str, str], said: str
) -> None:
    """Nobody answers, or the credentials are wrong: told once, no other backup is tried, and the document says so."""
    made = Catalogue(checkout.root / "backups/dumps")
    first, second = make(made, "monday"), make(made, "tuesday")
    checkout.environ |= strict.variables | variables
    run = checkout.run("backup.push", "--all", "--json", code=1)
    told = json.loads(run.stdout)
    assert (told["pushed"], list(told["failed"]), told["not_tried"]) == ([], [first.name], [second.name])
    assert said in told["failed"][first.name]
    assert run.stderr.count(said) == 1
    assert "2 of 2 backups were not sent." in run.stderr


def test_the_tasks_read_the_store_s_variables_from_dotenv(checkout: Checkout, own_s3: Store) -> None:
    """What is in .env opens the store like the environment does."""
    make(Catalogue(checkout.root / "backups/dumps"))
    lines = {"BACKUP_REPOSITORY": own_s3.address, **own_s3.variables}
    (checkout.root / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    (checkout.root / ".env").chmod(0o600)
    for name in lines:
        del checkout.environ[name]
    assert checkout.json("backup.push")["repository"] == own_s3.address


def test_a_folder_below_the_checkout_s_parent_is_a_repository(checkout: Checkout, tmp_path: Path) -> None:
    """A relative path is the checkout's."""
    entry = make(Catalogue(checkout.root / "backups/dumps"))
    checkout.run("backup.push", BACKUP_REPOSITORY="../team's share")
    assert (tmp_path / f"team's share/manifests/{entry.name}.json").exists()


def test_a_folder_s_url_is_read_as_one(checkout: Checkout, tmp_path: Path) -> None:
    """What a URL writes as %20 is a space in the folder's name; a folder's path is taken as it is written."""
    entry = make(Catalogue(checkout.root / "backups/dumps"))
    for name, address in (("team's ü share", (tmp_path / "team's ü share").as_uri()), ("50%25", f"{tmp_path}/50%25")):
        checkout.run("backup.push", BACKUP_REPOSITORY=address)
        assert (tmp_path / f"{name}/manifests/{entry.name}.json").exists()


def test_without_a_repository_the_setting_is_named(checkout: Checkout) -> None:
    """Nothing is set: one sentence, and exit code 2."""
    said = checkout.run("backup.push", code=2, BACKUP_REPOSITORY="")
    assert "BACKUP_REPOSITORY" in said.stderr


def test_keygen_prints_what_env_needs(checkout: Checkout, tmp_path: Path) -> None:
    """The two lines work as they are printed; the private key is nowhere in the output."""
    said = checkout.run("backup.keygen")
    lines = dict(line.split("=", 1) for line in said.stdout.splitlines() if line.startswith("BACKUP_"))
    path = Path(lines["BACKUP_IDENTITY"])
    assert path == tmp_path / ".config/drydock/a checkout.age"
    assert path.read_text().splitlines()[-1] not in said.stdout + said.stderr
    assert "keep a copy" in said.stderr
    checkout.environ |= lines
    assert checkout.json("backup.keygen") == {
        "recipient": lines["BACKUP_RECIPIENTS"],
        "identity": str(path),
        "made": False,
    }


def test_keygen_prints_lines_that_env_gives_back(checkout: Checkout, tmp_path: Path) -> None:
    """Also of a path that .env would take for a value and a comment, or for quotes."""
    path = tmp_path / "keys #1" / """it's "mine".age"""
    said = checkout.run("backup.keygen", "--path", str(path)).stdout
    lines = [line for line in said.splitlines() if line.startswith("BACKUP_")]
    (checkout.root / ".env").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert checkout.json("backup.keygen")["identity"] == str(path)
