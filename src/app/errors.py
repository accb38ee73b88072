"""What the application's data layer raises: one root, and one child for each thing a caller may want to handle."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class AppError(Exception):
    """The root. The message says what failed, on what, and what to do next; it holds no secret."""


class SettingsError(AppError):
    """Settings are missing, malformed or contradict each other.

    Args:
        problems: what is wrong, as pairs of variable names and a sentence; all of them, not only the first.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  {names}: {what}" for names, what in self.problems)
        super().__init__(f"The settings in the environment cannot be used:{lines}")


class DatabaseUnavailable(AppError):
    """The server could not be reached, or stopped answering: what was sent last may or may not have been done."""


class OutcomeUnknown(DatabaseUnavailable):
    """The server went away while a transaction was being committed: its changes may be there or not."""


class PoolExhausted(AppError):
    """All connections of the pool stayed in use for as long as the caller may wait.

    Args:
        in_use: connections handed out.
        maximum: connections the pool may have.
        waiting: others who were waiting too.
        waited: seconds this caller waited.
        holders: where the connections that are out longest were taken, `file:line function (seconds)`.
    """

    def __init__(self, *, in_use: int, maximum: int, waiting: int, waited: float, holders: Sequence[str]) -> None:
        self.in_use = in_use
        self.maximum = maximum
        self.waiting = waiting
        self.waited = waited
        self.holders = tuple(holders)
        super().__init__(
            f"No database connection was free within {waited:.3g} s: {in_use} of {maximum} are in use and {waiting} "
            f"more wait. Out longest: {'; '.join(holders) or 'none'}. Return connections sooner, or raise DB_POOL_MAX."
        )


class CircuitOpen(AppError):
    """The circuit breaker lets nothing through: the dependency failed too often just now.

    Args:
        name: of the breaker.
        retry_after: seconds until the next probe may go through.
    """

    def __init__(self, name: str, retry_after: float) -> None:
        self.name = name
        self.retry_after = retry_after
        super().__init__(f"{name} failed too often and is left alone: the next probe may go in {retry_after:.3g} s.")


class LockTaken(AppError):
    """Another session holds the advisory lock, and held it for as long as the caller may wait."""


class TenantError(AppError):
    """Work for one tenant met the context of another, or none where one is needed."""
