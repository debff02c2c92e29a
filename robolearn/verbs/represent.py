"""``verb: represent``: learn a world model from recorded episodes, and say what its states hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import pydantic

from robolearn.algos.dreamer import Dreamer, DreamerConfig, DreamingConfig
from robolearn.algos.infopower import InfoPower, InfoPowerConfig
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.loops.collecting import on_device
from robolearn.loops.moments import Moments
from robolearn.loops.rollout import rollout
from robolearn.networks.devices import Device, device_of
from robolearn.networks.parallel import together
from robolearn.networks.probing import Components, Probe, Scale, path_similarity, similarity
from robolearn.networks.rssm import Belief
from robolearn.networks.world import SIZES
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run
from robolearn.types import Environment, Episode, Observation, Policy, Spec
from robolearn.verbs.dreaming import LOOKS, draw_believed, foreseen, sequence
from robolearn.verbs.restoring import restored

STATE = "state"  # what is true, in an observation
SMALL = 16  # pixels: height and width of what is kept of a background
COMPONENTS = 10  # of it that are asked for
COMPARED = 1000  # moments whose distances are
AHEAD = (1, 5, LOOKS - 1)  # steps that are foretold


@dataclass(frozen=True)
class RepresentConfig:
    """What is recorded, what learns from it, and where it is judged."""

    env: EnvConfig
    """Where episodes are recorded, with ``cameras`` of 64 x 64 pixels; its "state" is what is true.
    It is kept from the learner."""
    judged_in: EnvConfig | None = None
    """Where episodes to judge it by are recorded, for other distractors; None: ``env``."""
    actors: tuple[str, ...] = ()
    """Checkpoints of policies that know the state, which act in turns with random actions."""
    episodes: pydantic.PositiveInt = 80
    """Recorded to learn from."""
    judged: pydantic.PositiveInt = 16
    """Recorded to judge by, in each of the two environments."""
    horizon: pydantic.PositiveInt = 200
    """Steps of an episode."""
    recorded_seed: pydantic.NonNegativeInt = 0
    """Decides the episodes, so that learners with other seeds can be compared on the same ones."""
    learner: Literal["dreamer", "infopower"] = "infopower"
    """What learns; the settings of the other one do not count."""
    dreamer: DreamerConfig = DreamerConfig()
    """Of that learner."""
    infopower: InfoPowerConfig = InfoPowerConfig(draws=True)
    """Of that learner."""
    device: Device = "cpu"
    """Where the networks compute; "cuda" for a GPU, of torchrun's processes one each."""
    updates: pydantic.PositiveInt = 3000
    """Of the world model; no policy is learnt."""
    log_updates: pydantic.PositiveInt = 100
    """Updates between two lines of the log."""
    checkpoint_updates: pydantic.PositiveInt = 500
    """Updates between two points from which a stopped run can go on."""

    def __post_init__(self) -> None:
        if self.horizon < AHEAD[-1]:
            raise UserError(
                f"horizon: in {self.horizon} steps none is foretold {AHEAD[-1]} steps before; "
                f"{AHEAD[-1]} would be right"
            )


class Random:
    """Acts at random in one episode at a time."""

    memoryless = True

    def __init__(self, actions: int, rng: np.random.Generator) -> None:
        self.actions, self.rng = actions, rng

    def reset(self, n: int) -> None:
        """Begin n episodes; there is nothing to forget."""

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Draw actions float32 [1, A]."""
        return self.rng.uniform(-1, 1, (1, self.actions)).astype(np.float32)


@dataclass(frozen=True)
class Recorded:
    """Episodes, and what was behind the robot at each moment but the first."""

    episodes: list[Episode]
    behind: list[np.ndarray] | None  # [T, P] for each episode; None where nothing is

    def states(self) -> np.ndarray:
        """Give what was true at all moments, [M, S]."""
        return np.concatenate([episode.observations[STATE] for episode in self.episodes])


@dataclass(frozen=True)
class Progress:
    """How far the updates have come; kept with a checkpoint."""

    updates: int = 0
    infos: tuple[dict[str, float], ...] = ()  # of the updates since the last line of the log
    latest: dict[str, float] = dataclasses.field(default_factory=dict)  # that line


def represent(config: RepresentConfig, run: Run) -> dict[str, Any]:
    """Record, learn, judge; keep ``checkpoint/`` and draw ``believed.png``.

    Summary: ``losses``, the last that were logged, and what ``judge`` gives.
    """
    kind, settings = _learner(config)
    env = run.make_env(config.env)
    device = device_of(config.device)
    learner = kind(_of_images(env.interface), settings, run.seed, device)
    other = run.make_env(config.judged_in or config.env)
    learner.interface.require(_of_images(other.interface), "what is learnt", "judged_in")
    counts = (config.episodes, config.judged, config.judged)
    with run.counter(sum(counts), "recording") as counter:
        train, seen, unseen = (
            record(where, config, part, count, counter.update)
            for part, (where, count) in enumerate(zip((env, env, other), counts, strict=True))
        )
    with together(learner.device) as learner.ranks:
        losses = _learn(learner, train, config, SIZES[settings.size], run)
    if learner.ranks.rank:
        return {}
    draw_believed(learner, unseen.episodes[-1], run)
    return {"losses": losses, **judge(learner, train, seen, unseen)}


def record(
    env: Environment,
    config: RepresentConfig,
    part: int,
    count: int,
    on_episode: Callable[[], Any] = lambda: None,
) -> Recorded:
    """Record the episodes of a part, each with its own seed and one of the actors."""
    blind = dataclasses.replace(
        env.interface, observations={STATE: env.interface.observations[STATE]}
    )
    knowing = [restored(path, "actors", blind) for path in config.actors]
    episodes, behind = [], []
    for i in range(count):
        rng = np.random.default_rng([config.recorded_seed, part, i])
        actors: list[Policy] = [Random(env.interface.action.shape[0], rng), *knowing]
        frames: list[np.ndarray] = []
        episodes.append(
            rollout(
                env,
                actors[i % len(actors)],
                horizon=config.horizon,
                seed=int(rng.integers(2**31)),
                settle_steps=config.horizon,
                explore=True,
                on_step=lambda step, frames=frames: frames.append(_behind(env)),
            )  # fmt: skip
        )
        behind.append(frames)
        on_episode()
    nothing = any(frame is None for frames in behind for frame in frames)
    return Recorded(episodes, None if nothing else [np.stack(frames) for frames in behind])


def judge(learner: Dreamer, train: Recorded, seen: Recorded, unseen: Recorded) -> dict[str, Any]:
    """Say what the likeliest states of a world model hold.

    Linear probes are fitted on the episodes that it learnt from. ``probe_state_r2``,
    ``similarity`` and ``path_similarity`` are of the true state, each entry in units of its
    deviation, in ``unseen`` episodes; with ``_seen`` in ``seen`` ones. ``probe_background_r2`` is
    of the first principal components of what is behind the robot, in ``seen`` episodes; None where
    nothing is. ``predicted_state_r2``: of the true state some steps ahead, without looking, in
    ``unseen`` ones.
    """
    believed = {
        name: [learner.believe(sequence(learner, e)) for e in part.episodes]
        for name, part in (("train", train), ("seen", seen), ("unseen", unseen))
    }
    codes = {name: _codes(beliefs) for name, beliefs in believed.items()}
    scale = Scale.of(train.states())
    probe = Probe.fit(codes["train"], scale(train.states()))
    found: dict[str, Any] = {}
    for name, part in (("", unseen), ("_seen", seen)):
        states, code = scale(part.states()), codes[name[1:] or "unseen"]
        some = np.random.default_rng(0).permutation(len(code))[:COMPARED]
        found[f"probe_state_r2{name}"] = probe.r2(code, states)
        found[f"similarity{name}"] = similarity(code[some], states[some])
        found[f"path_similarity{name}"] = path_similarity(code[some], states[some])
    found["probe_background_r2"] = _of_the_background(train, seen, believed)
    found["predicted_state_r2"] = _foretold(learner, unseen, believed["unseen"], probe, scale)
    return found


def _of_the_background(
    train: Recorded, seen: Recorded, believed: dict[str, list[Belief]]
) -> float | None:
    if train.behind is None or seen.behind is None:
        return None
    components = Components.of(np.concatenate(train.behind), COMPONENTS)
    codes = {name: _codes(believed[name], first=1) for name in ("train", "seen")}
    probe = Probe.fit(codes["train"], components(np.concatenate(train.behind)))
    return probe.r2(codes["seen"], components(np.concatenate(seen.behind)))


def _foretold(
    learner: Dreamer, part: Recorded, beliefs: Sequence[Belief], probe: Probe, scale: Scale
) -> dict[str, float]:
    """Give R2 by the number of steps since the last look."""
    ahead = [
        foreseen(learner, belief, episode.actions).cpu().numpy()
        for belief, episode in zip(beliefs, part.episodes, strict=True)
    ]
    return {
        str(k): probe.r2(
            np.concatenate([features[k::LOOKS] for features in ahead]),
            scale(np.concatenate([e.observations[STATE][k::LOOKS] for e in part.episodes])),
        )
        for k in AHEAD
    }


def _codes(beliefs: Iterable[Belief], first: int = 0) -> np.ndarray:
    """Give features of all moments from one of each episode on, [M, F]."""
    return np.concatenate([belief.features[0, first:].cpu().numpy() for belief in beliefs])


def _learner(config: RepresentConfig) -> tuple[type[Dreamer], DreamingConfig]:
    if config.learner == "dreamer":
        return Dreamer, config.dreamer
    return InfoPower, config.infopower


def _of_images(interface: Spec) -> Spec:
    """Leave what is true out of what is learnt from; UserError where it is not observed."""
    if STATE not in interface.observations:
        raise UserError(f'{interface.environment}: it observes no "{STATE}" to judge by')
    seen = {name: spec for name, spec in interface.observations.items() if name != STATE}
    return dataclasses.replace(interface, observations=seen)


def _learn(
    learner: Dreamer, recorded: Recorded, config: RepresentConfig, sizes: Any, run: Run
) -> dict[str, float]:
    """Update the world model, from where a stopped run left it; give the losses logged last.

    A checkpoint is left on the way and at the end. Of several processes, each draws its own part of
    a batch, and the first one keeps the checkpoint.
    """
    ranks = learner.ranks
    replay = replayed(learner.interface, recorded.episodes, sizes.length)
    folder, begun = run.path("checkpoint"), Progress()
    if checkpoint.exists(folder):
        begun = checkpoint.checked(Progress, checkpoint.go_on(folder, learner), folder)
    run.go_on(begun.updates)
    ranks.noise_of_its_own(learner.noise)
    infos, latest = [*begun.infos], begun.latest
    with run.counter(config.updates, "learning", "updates", begun.updates) as counter:
        for update in range(begun.updates + 1, config.updates + 1):
            rng = np.random.default_rng([run.seed, update, *ranks.key])
            batch = replay.sample(sizes.batch, rng)
            infos.append(learner.learn_world(on_device(batch, learner.device))[0])
            counter.update()
            if update % config.log_updates == 0 or update == config.updates:
                latest = {k: float(np.mean([info[k] for info in infos])) for k in infos[0]}
                run.log(update, **latest)
                infos.clear()
            is_due = update % config.checkpoint_updates == 0 or update == config.updates
            if is_due and not ranks.rank:
                progress = Progress(update, tuple(infos), latest)
                checkpoint.save(folder, learner, dataclasses.asdict(progress))
    return latest


def replayed(interface: Spec, episodes: Sequence[Episode], length: int) -> Moments:
    """Put episodes into a replay of sequences, one after the other."""
    replay = Moments(interface, sum(len(e) + 1 for e in episodes), 1, length)
    for episode in episodes:
        seen = {name: episode.observations[name] for name in interface.observations}
        for t in range(len(episode)):
            last = t == len(episode) - 1
            replay.add({
                "observations": {name: array[t : t + 1] for name, array in seen.items()},
                "next_observations": {name: a[t + 1 : t + 2] for name, a in seen.items()},
                "actions": episode.actions[t : t + 1],
                "rewards": episode.rewards[t : t + 1],
                "terminated": np.array([last and episode.terminated]),
                "ended": np.array([last]),
            })  # fmt: skip
    return replay


def _behind(env: Environment) -> np.ndarray | None:
    """Give what is behind the robot now, small, [P]; None for nothing that moves."""
    frame = getattr(env.unwrapped, "behind", lambda: None)()
    if frame is None:
        return None
    return cv2.resize(frame, (SMALL, SMALL), interpolation=cv2.INTER_AREA).ravel()
