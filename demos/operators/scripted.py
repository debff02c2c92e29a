"""A scripted operator: a demonstrator with a style, who sees and acts as a person would.

What it does is nearly a function of what it sees, so that a policy without memory can learn it: it
reaches, grasps, carries and releases, one object after the other, and which of these it is at shows
in the positions and in the opening of the hand. It remembers only that stage, whose turn it is, its
pauses, whether it has made its detour, and the drift of its tremor.
"""

import numpy as np

from demos.operators.handling import CLOSE, OPEN, Handling, Intent, Mind, Stage
from demos.operators.hands import hand_of
from demos.operators.motion import Tremor, circling
from demos.operators.styles import Style
from demos.operators.tasks import Task
from robolearn.types import Observation, Spec


class ScriptedOperator:
    """Policy of one operator for one task; batched over independent episodes.

    Needs robosuite's operational-space controller (a hand displacement [3], a rotation vector [3]
    and the gripper) or our tabletop's five entries, as the task has it, and, in ``"state"``, the
    hand's, the fingers' and the objects' poses; SpecError if not.
    """

    def __init__(self, task: Task, style: Style, interface: Spec, rng: np.random.Generator) -> None:
        self._style, self._rng, self._hand = style, rng, hand_of(task, interface)
        self._handlings = [Handling(one, style) for one in task.turns()]
        self._sights = [self._hand.sight(one) for one in task.turns()]
        self._period_s = interface.period_s
        self._minds: list[Mind] = []

    def reset(self, n: int) -> None:
        """Begin n episodes at once."""
        self._minds = [
            Mind(Tremor(self._style.noise_time_s, self._period_s, self._rng)) for _ in range(n)
        ]

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, A]; the tremor is part of the operator, ``explore`` is not."""
        pairs = zip(self._minds, observation["state"], strict=True)
        return np.stack([self._move(mind, state) for mind, state in pairs])

    def _move(self, mind: Mind, state: np.ndarray) -> np.ndarray:
        scene = self._sights[mind.turn](state)
        if mind.turn + 1 < len(self._handlings):
            if self._handlings[mind.turn].finished(mind.stage, scene):
                mind.begin_turn(mind.turn + 1)
                scene = self._sights[mind.turn](state)
        handling = self._handlings[mind.turn]
        self._think(mind, handling.next_stage(mind.stage, scene))
        intent = handling.intent(mind, scene)
        if mind.rest_steps > 0:
            mind.rest_steps -= 1
            closed = mind.stage in (Stage.CARRY, Stage.RELEASE)
            intent = Intent(np.zeros(3), 0.0, CLOSE if closed else OPEN)
        action = self._hand.command(intent, scene, self._style, mind.tremor())
        if self._style.fidget and handling.waits_for_fingers(mind.stage, scene):
            action[:2] += self._style.fidget * circling(mind.stage_steps * self._period_s)
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def _think(self, mind: Mind, stage: Stage) -> None:
        """Go on to this stage, or stop for a moment."""
        mind.stage_steps += 1
        if stage is not mind.stage:
            mind.stage, mind.stage_steps = stage, 0
            mind.rest_steps = self._rest_steps(stage)
        elif mind.rest_steps == 0 and self._hesitates(stage):
            mind.rest_steps = round(self._style.hesitation_s / self._period_s)

    def _hesitates(self, stage: Stage) -> bool:
        """Draw whether to stop now; a style that never does draws nothing."""
        rate = self._style.hesitations_hz
        if rate == 0 or stage in (Stage.GRASP, Stage.RELEASE):
            return False
        return bool(self._rng.random() < 1.0 - np.exp(-rate * self._period_s))

    def _rest_steps(self, stage: Stage) -> int:
        if stage in (Stage.GRASP, Stage.CARRY, Stage.RELEASE):
            return round(self._style.pause_s / self._period_s)
        return 0
