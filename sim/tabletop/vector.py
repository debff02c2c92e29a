"""Tabletops in batches: one compiled call steps them all."""

from __future__ import annotations

import numpy as np
from gymnasium.utils import seeding

from robolearn.types import Observation
from sim.tabletop.batch import Tabletop
from sim.tabletop.env import TabletopEnv
from sim.vector.env import Moves, VectorEnv
from sim.vector.kind import Kind


class TabletopVectorEnv(VectorEnv):
    """N episodes like those of ``template``, which has no cameras."""

    def __init__(self, template: TabletopEnv, n: int, threads: int) -> None:
        super().__init__(Kind.of(template), n, threads)
        one = template.tabletop
        self.tabletop = Tabletop(one.kinds, one.options, n, seen=False)
        self._generators = [seeding.np_random()[0] for _ in range(n)]
        template.close()

    def set_goals(self, goals: np.ndarray, mask: np.ndarray | None = None) -> Observation:
        """Give objects other goals [N, K, 4] (x, y, z in metres, yaw); return what is seen.

        Only where ``mask`` [N] bool is True, if there is one. Raises SpecError for goals of another
        shape, DataError for some that are not finite, UserError before the first reset.
        """
        with self._in_use():
            rows = self._rows(mask, "mask")
            self._require_begun(rows, "its goals are set")
            self.tabletop.set_goals(goals, self._mask(rows))
            return self._observe()

    def _seed(self, i: int, seed: int | None) -> None:
        if seed is not None:
            self._generators[i] = seeding.np_random(seed)[0]

    def _reset(self, i: int) -> None:
        self.tabletop.restart(i, self._generators[i])

    def _move(self, actions: np.ndarray, rows: list[int]) -> Moves:
        outcome = self.tabletop.step(actions, rows, self._pool, self._threads)
        return Moves(
            observations=self._observe(),
            reward=outcome.reward,
            terminated=outcome.thrown,
            truncated=self.tabletop.steps >= self.tabletop.options.horizon,
            success=outcome.success,
            terms=outcome.terms,
            errors=self.tabletop.physics.failures(rows),
        )

    def _observe(self) -> Observation:
        return {"state": self.tabletop.observe()}

    def _get_state(self, i: int) -> np.ndarray:
        return self.tabletop.get_state(i)

    def _set_state(self, i: int, state: np.ndarray) -> None:
        self.tabletop.set_state(i, state)
