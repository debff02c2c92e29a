"""What a Viewer is told: steps of an environment as they are taken, stored episodes, arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from robolearn.types import Environment, Episode, Observation, Spec, Step
from robolearn.viz.entries import StepScores, step_of

if TYPE_CHECKING:  # Rerun takes a second to import
    from robolearn.viz.viewer import Viewer


def step_logger(
    viewer: Viewer, env: Environment, score: Callable[[Step], StepScores] | None = None
) -> Callable[[Step], None]:
    """Make an ``on_step`` for ``rollout`` that logs all there is, the model too if there is one.

    ``score`` runs in the loop.
    """
    data = introduce(viewer, env)

    def on_step(step: Step) -> None:
        viewer.log_step(step, data(), None if score is None else score(step))

    return on_step


def replay_episode(
    viewer: Viewer,
    env: Environment,
    episode: Episode,
    scores: Sequence[StepScores] | None = None,
    text: str = "",
) -> None:
    """Log a stored episode: its states are put into ``env``, one after the other.

    ``scores`` has one entry per action. Cameras of ``env`` are added to those that were stored.
    Without stored states no body moves.
    """
    data = introduce(viewer, env)

    def restore(t: int) -> tuple[Observation, Any]:
        if episode.states is None:
            return {}, None
        observation = env.set_state(episode.states[t])
        return {key: array for key, array in observation.items() if array.ndim == 3}, data()

    before, at = restore(0)
    viewer.begin_episode(text or ("success" if episode.success else "failure"), at)
    for t in range(len(episode)):
        after, at = restore(t + 1)
        step = step_of(episode, t, before, after)
        viewer.log_step(step, at, None if scores is None else scores[t], wait=True)
        before = after


def replay_arrays(
    viewer: Viewer,
    interface: Spec,
    observations: Mapping[str, np.ndarray],
    actions: np.ndarray,
    scores: Sequence[StepScores] | None = None,
    text: str = "",
) -> None:
    """Log a demonstration that is but arrays: observations name -> [T, ...], actions [T, A].

    Nobody knows its rewards, nor what was seen after the last action: it stands once more.
    """
    viewer.log_spec(interface)
    viewer.begin_episode(text)
    last = len(actions) - 1
    for t, action in enumerate(actions):
        before, after = (
            {name: array[min(at, last)] for name, array in observations.items()}
            for at in (t, t + 1)
        )
        step = Step(t, before, action, math.nan, after, False, t == last, {})
        viewer.log_step(step, None, None if scores is None else scores[t], wait=True)


def introduce(viewer: Viewer, env: Environment) -> Callable[[], Any]:
    """Log the Spec and the model of an environment; give what returns its MjData, or None."""
    viewer.log_spec(env.interface)
    world = getattr(env, "unwrapped", env)
    if not hasattr(getattr(world, "model", None), "ngeom"):
        return lambda: None
    viewer.log_model(world.model, world.data)
    return lambda: world.data
