"""Going back in more than one attempt: where a base backup proves damaged, the next one begins with an earlier one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from drydock.errors import RefusedError
from drydock.recovery.bases import base, base_manifest
from drydock.recovery.plans import plan, planning

if TYPE_CHECKING:
    from collections.abc import Callable

    from drydock.environment import Environment
    from drydock.recovery.archive.folders import Archive
    from drydock.recovery.bases.base import DamagedBaseError
    from drydock.recovery.plans.moments import Clock
    from drydock.recovery.plans.plan import Plan
    from drydock.recovery.plans.targets import Target
    from drydock.recovery.restores.going_back import WentBack


@dataclass(frozen=True)
class Attempts:
    """Attempts at one target.

    Attributes:
        environment: whose lock is held.
        archive: to go back in.
        target: where to.
        clock: of the moment at which it was asked for.
        damaged: what was found out on the way.
    """

    environment: Environment
    archive: Archive
    target: Target
    clock: Clock
    damaged: list[DamagedBaseError] = field(default_factory=list)

    def plan(self) -> Plan:
        """The plan of the next attempt, without what is known to be damaged.

        Raises:
            RefusedError: where there is none; it names what is damaged as well.
            DrydockError: as planning.look.
        """
        with planning.look(self.environment, self.archive, self.clock) as situation:
            damaged = self._damaged()
            try:
                return plan.make(self.target, replace(situation, unusable=frozenset(damaged)))
            except RefusedError as refusal:
                told = " ".join([*damaged.values(), refusal.message])
                raise RefusedError(told, hint=refusal.hint) from refusal

    def _damaged(self) -> dict[str, str]:
        """What is wrong with base backups, as sentences by name: found out now, or by an earlier restore."""
        noted = [base.DamagedBaseError(one.name, one.damage) for one in base.bases(self.archive) if one.damage]
        return {error.name: error.message for error in (*noted, *self.damaged)}

    def carry_out(
        self, first: Plan, step: Callable[[Plan], WentBack], report: Callable[[str], None]
    ) -> tuple[Plan, WentBack]:
        """Carry a plan out; where its base backup proves damaged, before anything was swapped, the next one.

        A base backup that is damaged is noted, so that `status` tells, and no restore begins with it until
        `archive.verify` has proven it.

        Raises:
            DrydockError, RefusedError: as the step, and `plan`.
        """
        current = first
        while True:
            try:
                return current, step(current)
            except base.DamagedBaseError as error:
                base_manifest.note_damage(self.archive.bases / error.name, error.reason)
                report(f"{error.message} Once more, from an earlier one.")
                self.damaged.append(error)
            current = self.plan()
            report(f"base backup {current.base.name} (ended {self.clock.shown(current.base.stopped)})")
