"""What every task shares: errors become sentences and exit codes, and changing tasks hold the checkout's lock."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit
from invoke.tasks import task

from drydock.console import Console
from drydock.errors import DrydockError, EngineError, NotReadyError, RefusedError, SettingsError
from drydock.settings import Settings, load
from drydock.tasks.words import Default

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drydock.environment import Environment

JSON_HELP = "Print one JSON document on stdout."
YES_HELP = "Do not ask."
INTERRUPTED = 130
MANY_LINES = 10**9


def command(
    *,
    help: dict[str, str] | None = None,  # noqa: A002 - Invoke's own parameter
    passes_on: bool = False,
    **options: Any,
) -> Callable[[Callable[..., None]], Any]:
    """Make an Invoke task of a function `(console, **arguments)`; a `json` parameter becomes --json.

    Args:
        help: a text for each argument.
        passes_on: whether it uses `passed_on`; others refuse what follows `--`.
        options: Invoke's own.
    """

    def decorate(body: Callable[..., None]) -> Any:
        signature = inspect.signature(body)
        takes_json = "json" in signature.parameters

        @functools.wraps(body)
        def run(context: Any, *arguments: Any, **named: Any) -> None:
            json_output = bool(named.get("json"))
            console = Console(json_output=json_output)
            try:
                _check_words(context.remainder, taken=passes_on)
                body(console, *arguments, **named)
            except KeyboardInterrupt:
                console.note("interrupted; the next run goes on from here")
                raise Exit(code=INTERRUPTED) from None
            except Exception as error:
                known = told(error)
                if known is None or debugging():
                    raise
                console.error(known)
                raise Exit(code=known.exit_code) from None

        texts = {**(help or {}), **({"json": JSON_HELP} if takes_json else {})}
        return task(help=texts, **options)(run)

    return decorate


def passed_on() -> list[str]:
    """The words that follow `--`; of the command line itself, for Invoke joins them without their quotes."""
    words = sys.argv
    return words[words.index("--") + 1 :] if "--" in words else []


def _check_words(words: str, *, taken: bool) -> None:
    if words and not taken:
        raise SettingsError(f"This task takes nothing after --: {words}", hint="invoke --help TASK names its options")


def debugging() -> bool:
    """True with Invoke's own --debug: tracebacks are wanted then."""
    return logging.getLogger("invoke").isEnabledFor(logging.DEBUG)


def settings() -> Settings:
    """The settings of the checkout the task was called in."""
    return load()


@contextmanager
def changing(console: Console, name: str) -> Iterator[Environment]:
    """The existing environment, with the checkout's lock held while the body changes it; it may never have been up."""
    from drydock.environment import open_existing
    from drydock.lock import locked
    from drydock.recovery.upkeep import attendant

    found = open_existing(started=False)
    with locked(found.settings.folder, name, timeout=found.settings.lock_timeout, report=console.step):
        # What was recorded before the lock was ours may be out of date.
        environment = open_existing(found.settings.root, started=False)
        yield environment
    attendant.nudge(environment)


def confirmed(question: str, expected: str, *, yes: bool) -> None:
    """Go on only with --yes or the expected answer.

    Raises:
        RefusedError: where neither was given; without a terminal nothing is asked.
    """
    from drydock.console import confirm

    if not yes and not confirm(question, expected):
        raise RefusedError("Nothing was done.", hint="Type the name that is asked for, or pass --yes.")


def refuse_all_and_name(name: str, task: str, *, all_of_them: bool) -> None:
    """Stop where a name was given along with --all: one of the two was not meant.

    Raises:
        SettingsError: naming both.
    """
    if all_of_them and not isinstance(name, Default):
        raise SettingsError(f"--all and the name {name!r} cannot be had together.", hint=f"invoke --help {task}")


def whole_number(flag: str, text: str, *, most: int) -> int:
    """What `text` says, given with `flag`. A default of type int would have Invoke end with a traceback.

    Raises:
        SettingsError: where it is no whole number from 0 to `most`.
    """
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        raise SettingsError(
            f"{flag}: {text!r} is not a whole number from 0 to {most}.", hint="invoke --help TASK names its options"
        )
    return number


def told(error: Exception) -> DrydockError | None:
    """A failure as it is told to the user; None for one that nobody foresaw."""
    if isinstance(error, DrydockError):
        return error
    if isinstance(error, OSError):
        return _system_error(error)
    return _database_error(error) if _is_database_error(error) else None


def _is_database_error(error: Exception) -> bool:
    """True for what the server or the connection to it said; psycopg is asked only where it was loaded."""
    psycopg = sys.modules.get("psycopg")
    return psycopg is not None and isinstance(error, psycopg.Error)


def _database_error(error: Exception) -> NotReadyError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return NotReadyError(f"Postgres refused: {first}.", hint="invoke status; add --debug for the traceback")


def _system_error(error: OSError) -> EngineError:
    name = f" ({error.filename})" if error.filename else ""
    return EngineError(
        f"The operating system refused: {error.strerror or error}{name}.",
        hint="invoke doctor; add --debug for the traceback",
    )
