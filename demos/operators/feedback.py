"""What a rejection points at: the trait that a short stretch of disagreement is about."""

import numpy as np

from demos.operators.hands import hand_of
from demos.operators.scene import Scene
from demos.operators.tasks import Task, named_task
from robolearn.types import Spec

SAME_WAY = 0.8  # cosine above which two movements have the same direction
OTHER_PACE = 0.2  # share by which two speeds must differ to be noticed
AT_REST = 0.15  # action norm below which a hand rests
OTHER_GRIP = 0.25  # difference of mean gripper commands that is another moment to close or open
# A difference that trembles changes so much from step to step, and has no more of a mean, both by
# its size. A drift that takes seconds is not told from a habit.
UNSTEADY, ONE_SIDED = 0.4, 0.7
OTHER_TURN = 0.3  # difference of commanded rotations that is another turn (the way follows from it)
IN_HAND_M = 0.1  # largest distance of a held object's centre from the hand
GRIP_M = 0.01  # how much wider than the object a closed hand may be open


def pointed_trait(
    task: str, interface: Spec, states: np.ndarray, actions: np.ndarray, expected: np.ndarray
) -> str:
    """Say which trait of ``styles.TRAITS`` would explain a disagreement.

    ``states`` [W, O] are the "state" observations of a window of a demonstration (the worst one),
    ``actions`` [W, A] what the operator did there, ``expected`` [W, A] what the base would have
    done. The same way at another pace (or resting) is ``tempo``, the same way with another gripper
    ``grip``, a difference that trembles ``steadiness``, another way of turning the hand ``grasp``,
    another way of moving it ``transport`` with the object in hand, else ``order``. This is a
    person's reading of a replay: right more often than not, no more.
    """
    done, wanted = actions.mean(axis=0), expected.mean(axis=0)
    if _other_pace(done[:-1], wanted[:-1]):
        return "tempo"
    if abs(done[-1] - wanted[-1]) > OTHER_GRIP and _same_way(done[:-1], wanted[:-1]):
        return "grip" if np.linalg.norm(done[:-1]) > AT_REST else "tempo"  # at rest it is a pause
    if _trembles(actions[:, :-1] - expected[:, :-1]):
        return "steadiness"
    if np.linalg.norm(done[3:-1] - wanted[3:-1]) > OTHER_TURN:
        return "grasp"
    turns = named_task(task).turns()
    hand = hand_of(turns[0], interface)
    sights = [hand.sight(one) for one in turns]
    held = [
        any(_in_hand(sight(state), one) for sight, one in zip(sights, turns, strict=True))
        for state in states
    ]
    return "transport" if np.mean(held) > 0.5 else "order"


def _trembles(difference: np.ndarray) -> bool:
    """Say whether a difference [W, A - 1] is nothing but noise: large steps, back and forth."""
    size = float(np.sqrt(np.square(difference).sum(axis=1).mean()))
    if len(difference) < 2 or size == 0:
        return False
    steps = float(np.linalg.norm(np.diff(difference, axis=0), axis=1).mean())
    mean = float(np.linalg.norm(difference.mean(axis=0)))
    return steps > UNSTEADY * size and mean < ONE_SIDED * size


def _other_pace(done: np.ndarray, wanted: np.ndarray) -> bool:
    speed, wanted_speed = np.linalg.norm(done), np.linalg.norm(wanted)
    if speed < AT_REST or wanted_speed < AT_REST:
        return abs(speed - wanted_speed) > AT_REST
    return _same_way(done, wanted) and abs(speed - wanted_speed) > OTHER_PACE * wanted_speed


def _same_way(done: np.ndarray, wanted: np.ndarray) -> bool:
    speed, wanted_speed = np.linalg.norm(done), np.linalg.norm(wanted)
    if speed < AT_REST or wanted_speed < AT_REST:
        return abs(speed - wanted_speed) < AT_REST
    return float(done @ wanted) / (speed * wanted_speed) > SAME_WAY


def _in_hand(scene: Scene, task: Task) -> bool:
    near = float(np.linalg.norm(scene.object - scene.hand)) < IN_HAND_M
    return near and scene.opening_m < task.width_m + GRIP_M
