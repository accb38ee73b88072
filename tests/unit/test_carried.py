from __future__ import annotations

from drydock.backup.foreign.carried import Carried, Failure


def test_a_dump_that_brought_everything_takes_one_line() -> None:
    """Its own owner is not worth a word."""
    carried = Carried(
        form="custom",
        tables=1,
        rows=1442,
        revisions=("a1",),
        versioned=True,
        owners=("app_owner",),
        defaults=("app_owner",),
    )
    assert list(carried.lines("app_owner", "app")) == ["custom: 1 table, 1,442 rows"]
    assert carried.complete


def test_each_kind_of_loss_is_a_sentence() -> None:
    """Names are listed, long lists cut, failures shown with the server's reason, and what is no loss is complete."""
    failures = tuple(Failure(f"CREATE TABLE t{n}", "no such type") for n in range(10))
    carried = Carried(
        form="plain SQL",
        tables=2,
        rows=0,
        revisions=(),
        versioned=False,
        owners=("bob",),
        roles=tuple(f"r{n}" for n in range(10)),
        defaults=("bob",),
        extensions=("postgis",),
        settings=("SET transaction_timeout = 0",),
        commands=("\\! ls",),
        server_wide=("CREATE ROLE",),
        failures=failures,
        opened=("public",),
    )
    lines = list(carried.lines("app_owner", "app"))
    assert lines[1:9] == [
        "Owned by app_owner now, by bob where it came from.",
        "Not granted, for these roles do not exist here: r0, r1, r2, r3, r4, r5, r6, r7 and 2 more.",
        "Default privileges of bob stay behind: this environment has its own.",
        "The dump grants app nothing, so it may read and change all tables of public.",
        "Settings this server does not take: SET transaction_timeout = 0.",
        "Not executed, for it concerns the whole server: CREATE ROLE.",
        "Commands of psql, not executed: \\! ls.",
        "Extensions this server does not have: postgis.",
    ]
    assert lines[9:11] == ["10 statements failed:", "  CREATE TABLE t0: no such type"]
    assert lines[-2] == "  … and 2 more"
    assert "no version table" in lines[-1]
    assert not carried.complete
