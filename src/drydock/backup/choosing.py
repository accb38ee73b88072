"""Which backup is newer than another, and which one a word means."""

from __future__ import annotations

import difflib
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drydock.errors import DrydockError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from drydock.backup.catalogue import Entry
    from drydock.backup.manifest import Manifest

LATEST = "latest"
_NEVER = datetime.min.replace(tzinfo=UTC)


def newest_first(entries: Iterable[Entry]) -> list[Entry]:
    """By sequence where they are of one origin, by when they were made between origins; unusable ones last.

    Nothing counts as made earlier than what its origin made before it: so a clock that was set back changes no order
    within an origin, and that of any two is the same whatever else is there that is newer or of others.
    """
    unusable = sorted((entry for entry in entries if entry.manifest is None), key=lambda entry: entry.name)
    groups: dict[tuple[str, ...], list[tuple[Manifest, Entry]]] = defaultdict(list)
    for entry in entries:
        if entry.manifest:
            groups[entry.manifest.origin].append((entry.manifest, entry))
    ranked = []
    for origin, group in groups.items():
        since = _NEVER
        by_sequence = sorted(group, key=lambda one: (one[0].sequence, _moment(one[0]), one[1].name))
        for position, (manifest, entry) in enumerate(by_sequence):
            since = max(since, _moment(manifest))
            ranked.append((since, origin, position, entry))
    ranked.sort(key=lambda one: one[:3], reverse=True)
    return [*(entry for *_, entry in ranked), *reversed(unusable)]


def latest(entries: Sequence[Entry], own: str = "") -> Entry:
    """The newest whole one; a partial one only where there is no other, and an unusable one where nothing else is.

    Args:
        entries: at least one, newest first.
        own: identity of a checkout whose backups come before those of others.
    """

    def rank(entry: Entry) -> tuple[bool, bool, bool]:
        manifest = entry.manifest
        if manifest is None:
            return True, True, True
        return False, manifest.partial, bool(own) and manifest.checkout != own

    return min(entries, key=rank)  # min() takes the first of equals: the newest


def named(wanted: str, labels: dict[str, str], *, place: str = "", listing: str) -> str:
    """The name of the one backup that is called `wanted`: its name, its label, or a beginning that only one has.

    Args:
        wanted: what was typed.
        labels: each backup's label by its name, newest first.
        place: where they are, such as ` in s3://backups`; empty for here.
        listing: the command that lists them.

    Raises:
        DrydockError: where none or several fit, naming what is near.
        SettingsError: where nothing was typed.
    """
    if not wanted.strip():  # which equals an empty label, and every name begins with
        raise SettingsError("The name of the backup is empty.", hint=f"Is a variable of the shell not set? {listing}")
    exact = [name for name in labels if name == wanted] or [name for name, label in labels.items() if label == wanted]
    fitting = exact or [name for name in labels if name.startswith(wanted)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(fitting[:5]) + (", …" if len(fitting) > 5 else "")  # noqa: PLR2004 - a line's worth
        raise DrydockError(f"{wanted!r} fits {len(fitting)} backups{place}: {names}.", hint="Give more of the name.")
    words = [word for pair in labels.items() for word in pair if word]
    near = difflib.get_close_matches(wanted, words, n=1, cutoff=0.5)
    raise DrydockError(
        f"There is no backup called {wanted!r}{place}.{f' Did you mean {near[0]}?' if near else ''}", hint=listing
    )


def _moment(manifest: Manifest) -> datetime:
    """When it was made; before all others where it does not say."""
    try:
        return manifest.moment
    except ValueError:
        return _NEVER
