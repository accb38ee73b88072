"""The table of contents of a directory dump, read from what pg_dump wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from drydock.backup import vector_indexes
from drydock.backup.foreign import table_of_contents
from drydock.errors import DrydockError

# Of a backup that an earlier drydock made.
FIXTURE = next((Path(__file__).parents[1] / "data" / "backups" / "format-1").rglob("toc.dat"))


def test_every_item_has_what_a_choice_is_made_by() -> None:
    """Number, kind, tag, owner and SQL, in the order of the restore."""
    items = table_of_contents.read(FIXTURE.read_bytes())
    assert {"TABLE", "TABLE DATA", "INDEX", "FK CONSTRAINT", "POLICY", "ROW SECURITY", "EXTENSION"} <= {
        item.kind for item in items
    }
    (messages,) = [item for item in items if (item.kind, item.tag) == ("TABLE", "messages")]
    assert messages.owner == "app_owner"
    assert messages.definition.startswith("CREATE TABLE public.messages")
    assert len({item.number for item in items}) == len(items)
    assert [item.tag for item in items if item.of_extension] == ["vector", "EXTENSION vector"]
    assert [item.tag for item in items if item.of_schema] == ["drydock"]
    assert all("POLICY" in item.definition or "ROW LEVEL" in item.definition for item in items if item.of_row_security)


def test_it_says_whose_all_of_it_is() -> None:
    """The owner's, but for what belongs to nobody."""
    items = table_of_contents.read(FIXTURE.read_bytes())
    assert table_of_contents.belongs_to(items, "app_owner")
    assert not table_of_contents.belongs_to(items, "app")
    assert table_of_contents.belongs_to([table_of_contents.Item(1, "CAST", "x", "", "")], "app_owner")
    assert not table_of_contents.belongs_to([table_of_contents.Item(1, "EVENT TRIGGER", "x", "", "")], "app_owner")


def test_the_list_names_items_in_order() -> None:
    """As pg_restore --use-list reads it."""
    items = table_of_contents.read(FIXTURE.read_bytes())[:2]
    assert table_of_contents.listing(items) == f"{items[0].number};\n{items[1].number};\n"


@pytest.mark.parametrize("end", [0, 5, 20, 100, 1000, -1])
def test_what_is_cut_off_is_refused(end: int) -> None:
    """Never a shorter table of contents."""
    with pytest.raises(DrydockError, match="table of contents makes no sense"):
        table_of_contents.read(FIXTURE.read_bytes()[:end])


def test_another_format_is_refused() -> None:
    """What Postgres 17 writes is laid out differently."""
    data = bytearray(FIXTURE.read_bytes())
    data[6] = 16
    with pytest.raises(DrydockError, match=r"format 1\.16"):
        table_of_contents.read(bytes(data))


def test_vector_indexes_are_told_from_others() -> None:
    """With what is said of them; none at all where an index of a partitioned table waits for them."""
    items = table_of_contents.read(FIXTURE.read_bytes())
    found = vector_indexes.among(items)
    assert found
    assert all("USING hnsw" in item.definition for item in found)
    comment = table_of_contents.Item(9999, "COMMENT", f"INDEX {found[0].tag}", "COMMENT …", "app_owner")
    attach = table_of_contents.Item(9998, "INDEX ATTACH", "whole_part", "ALTER INDEX …", "app_owner")
    assert vector_indexes.among([*items, comment]) == [*found, comment]
    assert vector_indexes.among([*items, attach]) == []
