from __future__ import annotations

import plistlib
import re
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drydock.backup.scheduling.schedulers import Job, choose, cron, known, launchd, refuse_unprintable, systemd
from drydock.errors import EngineError, SettingsError

ODD = [
    "plain",
    "two words",
    "Ann's",
    'the "old" one',
    "100 %",
    "%%d %n",
    "$HOME `id` $(id)",
    "a;b&c|d",
    "ümläut #1",
    "-n",
]
# What a user's crontab may hold, other checkouts' blocks and bytes of any encoding among it.
LINES = st.lists(
    st.sampled_from([b"# mine", b"", b"0 1 * * * true", b"MAILTO=ann", b"\xff\xfe\t ", b"# drydock", b"@reboot x % y"])
)


@pytest.fixture(params=ODD)
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Job:
    """A job in a folder with an odd name, whose script tells that it ran."""
    root = tmp_path / request.param
    root.mkdir()
    found = Job("1a2b3c4d", root, root / "scheduled.sh", 7)
    found.script.write_text("echo ran\n")
    return found


def started(command: list[str]) -> tuple[str, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"}, cwd="/")
    return done.stdout, done.stderr


def cron_command(job: Job) -> str:
    """The command as crontab(5) hands it to the shell: an escaped percent sign is one, another one ends it."""
    line = cron.block(job).decode().splitlines()[1]
    found = re.match(r"7 \* \* \* \* ((?:\\%|[^%\n])*)$", line)
    assert found, line
    return found[1].replace(r"\%", "%")


def test_cron_starts_the_script_whatever_its_path(job: Job) -> None:
    """The command runs the script, both every hour and when cron starts; once it is gone, nothing is said."""
    assert started(["/bin/sh", "-c", cron_command(job)]) == ("ran\n", "")
    assert cron.block(job).decode().splitlines()[2].startswith("@reboot test -f ")
    job.script.unlink()
    assert started(["/bin/sh", "-c", cron_command(job)]) == ("", "")


def test_launchd_starts_the_script_whatever_its_path(job: Job) -> None:
    """The agent is a property list that runs the script at its minute of every hour and at login."""
    agent = plistlib.loads(launchd.agent(job).encode())
    assert (agent["Label"], agent["StartCalendarInterval"]) == ("drydock.backup.1a2b3c4d", {"Minute": 7})
    assert agent["RunAtLoad"] is True
    assert started(agent["ProgramArguments"]) == ("ran\n", "")
    job.script.unlink()
    assert started(agent["ProgramArguments"]) == ("", "")


def test_systemd_takes_the_units_whatever_the_path(tmp_path: Path) -> None:
    """Systemd finds nothing wrong with either unit, and the timer makes up for what was missed."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    for n, name in enumerate(ODD):
        texts = systemd.units(Job("1a2b3c4d", tmp_path / name, tmp_path / name / "scheduled.sh", 7))
        assert "OnCalendar=*-*-* *:07:00\nPersistent=true\n" in texts["timer"]
        for suffix, text in texts.items():
            (tmp_path / f"drydock-{n}.{suffix}").write_text(text)
    command = ["systemd-analyze", "verify", "--user", "--man=no", *map(str, tmp_path.glob("drydock-*"))]
    environ = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_reads_back_the_arguments_that_were_meant(job: Job) -> None:
    """Undoing what systemd.service(5) says of quotes, % and $ gives the command that runs the script."""
    line = next(line for line in systemd.units(job)["service"].splitlines() if line.startswith("ExecStart="))
    words = re.findall(r'"((?:\\.|[^"\\])*)"', line)
    command = [re.sub(r"\\(.)", r"\1", word).replace("%%", "%").replace("$$", "$") for word in words]
    assert started(["/bin/sh", "-c", *command]) == ("ran\n", "")
    job.script.unlink()
    assert started(["/bin/sh", "-c", *command]) == ("", "")


@given(LINES, LINES)
def test_other_lines_of_a_crontab_are_kept_byte_for_byte(before: list[bytes], after: list[bytes]) -> None:
    """Taking a block out leaves what stood around it, other checkouts' blocks too; without one, all of it."""
    others = cron.block(Job("99999999", Path("/theirs"), Path("/theirs/scheduled.sh")))
    head = b"".join(line + b"\n" for line in before) + others
    tail = b"".join(line + b"\n" for line in after)
    ours = cron.block(Job("1a2b3c4d", Path("/ours"), Path("/ours/scheduled.sh")))
    assert cron.without(head + ours + tail, "1a2b3c4d") == (head + tail, True)
    assert cron.without(head + tail, "1a2b3c4d") == (head + tail, False)


@pytest.mark.parametrize("lost", [0, 3])
def test_a_block_that_lost_a_mark_is_left_to_its_owner(lost: int) -> None:
    """Where a mark was deleted nobody knows what is ours: one sentence, and no line goes."""
    lines = cron.block(Job("1a2b3c4d", Path("/ours"), Path("/ours/scheduled.sh"))).splitlines(keepends=True)
    del lines[lost]
    with pytest.raises(EngineError, match="lost one of their marks"):
        cron.without(b"".join(lines) + b"0 1 * * * true\n", "1a2b3c4d")


@pytest.mark.parametrize("name", ["new\nline", "back\\slash", "bell\a"])
def test_paths_that_no_scheduler_could_hold(name: str) -> None:
    """A line's end or a backslash in the path is refused before anything is written."""
    with pytest.raises(SettingsError, match="backslash or an unprintable"):
        refuse_unprintable(Job("1a2b3c4d", Path("/", name), Path("/", name, "scheduled.sh")))


def test_a_scheduler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing can start a job, each one says why; the order is that of custom: launchd, systemd, cron."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(known()) == ["launchd", "systemd", "cron"]
    with pytest.raises(EngineError, match="There is no crontab command"):
        choose("cron")
    with pytest.raises(EngineError, match=r"Nothing here.*No systemd user session.*no crontab"):
        choose("auto")


def test_a_cron_that_does_not_run_comes_with_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crontab is taken although nothing reads it: what starts the daemon is told with that."""
    monkeypatch.setattr(psutil, "process_iter", lambda _attributes: [])
    detail, fix = cron.Cron().caution() or ("", "")
    assert "no cron daemon is running" in detail
    assert fix == "sudo service cron start"
