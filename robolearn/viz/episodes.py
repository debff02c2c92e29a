"""What a Viewer is told of an environment: its steps as they are taken, or stored episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from robolearn.types import Environment, Episode, Observation, Step
from robolearn.viz.entries import StepScores, step_of

if TYPE_CHECKING:  # Rerun takes a second to import
    from robolearn.viz.viewer import Viewer


def step_logger(
    viewer: Viewer, env: Environment, score: Callable[[Step], StepScores] | None = None
) -> Callable[[Step], None]:
    """Make an ``on_step`` for ``rollout`` that logs all there is, the model too if there is one.

    ``score`` runs in the loop.
    """
    data = _introduce(viewer, env)

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
    data = _introduce(viewer, env)

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


def _introduce(viewer: Viewer, env: Environment) -> Callable[[], Any]:
    """Log the Spec and the model of an environment; give what returns its MjData, or None."""
    viewer.log_spec(env.interface)
    world = getattr(env, "unwrapped", env)
    if not hasattr(getattr(world, "model", None), "ngeom"):
        return lambda: None
    viewer.log_model(world.model, world.data)
    return lambda: world.data
