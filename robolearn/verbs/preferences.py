"""The ``preferences:`` block of ``sac`` and ``ppo``: a policy learns what others prefer."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pydantic import NonNegativeInt

from robolearn.errors import UserError, nearest
from robolearn.loops.off_policy import OffPolicyLearner
from robolearn.loops.replay import Replay
from robolearn.names import load
from robolearn.rewards.asking import Asker, AskingConfig, Respond, teacher_responds
from robolearn.rewards.novelty import SEEN, Exploring
from robolearn.rewards.preference import PreferenceConfig, PreferenceReward, row
from robolearn.rewards.questionnaire import FOLDER, Questionnaire
from robolearn.rewards.teachers import TEACHERS
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run
from robolearn.types import ArraySpec, RewardStream, VectorEnvironment
from robolearn.viz.curves import RAW, SMOOTH, draw_curve, read_curve, smooth

PEOPLE = {
    "page": "demos.labels.run:on_page",
    "terminal": "demos.labels.run:in_terminal",
    "later": "robolearn.verbs.preferences:later",
}
POLL_S = 0.5
LOOK_STEPS = 500  # between two looks at what was seen, while it is explored


@dataclass(frozen=True)
class PreferencesConfig(AskingConfig):
    """Who is asked, how often, and how the reward is learnt that takes the environment's place."""

    labeller: str = "perfect"
    """A scripted teacher, who knows the environment's reward: perfect, noisy, mistaken, myopic,
    skipping, equal; or people: page (in the browser), terminal, later (``robolearn label run=RUN``
    answers, while the training waits or is stopped)."""
    task: str = ""
    """What people are told to prefer."""
    camera: str | None = None
    """The camera through which people see what was done; None, in a terminal: curves."""
    page: dict[str, Any] = field(default_factory=dict)
    """Settings of the page: port, host, open_to_network, image_size."""
    explore: NonNegativeInt = 0
    """Control steps, after the random ones, in which a policy that learns from a replay looks for
    states that it has not seen, before anybody is asked."""
    reward: PreferenceConfig = PreferenceConfig()
    """The ensemble, the segments that are asked about, and how questions are chosen."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = [*TEACHERS, *PEOPLE]
        if self.labeller not in known:
            raise UserError(f"labeller: nobody is called '{self.labeller}'"
                            f"{nearest(self.labeller, known)}")  # fmt: skip
        if self.labeller == "page" and self.camera is None:
            raise UserError("camera: which one shows people on the page what was done?")

    @property
    def people(self) -> bool:
        """Say whether people are asked, who see what was done."""
        return self.labeller in PEOPLE


class Restarting(OffPolicyLearner, Protocol):
    """A learner that may explore first, by another reward than it is to learn from."""

    def begin_critics(self) -> None:
        """Forget what actions are worth."""


class Unasked:
    """What a training does beside its loop where the environment's reward counts: nothing."""

    keep_states = False
    streams: dict[str, RewardStream] | None = None

    def memory(self, env: VectorEnvironment, capacity: int, seed: int) -> Replay:
        """Make the replay."""
        return Replay(env.interface, capacity, env.num_envs)

    def on_step(self, learner: Any, replay: Replay, first: int, total: int) -> None:
        """Give nothing to call."""

    def on_rollout(self, env: VectorEnvironment, horizon: int, total: int) -> None:
        """Give nothing to call."""

    def read(self) -> dict[str, float]:
        """Give nothing to log."""
        return {}

    def counters(self) -> dict[str, Any]:
        """Give nothing to keep."""
        return {}

    def go_on(self, counters: Mapping[str, Any]) -> None:
        """Take nothing over."""

    def summary(self) -> dict[str, Any]:
        """Give nothing to say."""
        return {}

    def draw(self, run: Run, title: str) -> None:
        """Draw the return of episodes over the steps, if any ended."""
        steps, returns = read_curve(run.path("metrics.jsonl"), "return")
        if len(steps):
            draw_curve(steps, returns, "return of an episode", title, run.path("report.png"))


UNASKED = Unasked()


class Preferences:
    """What a training does beside its loop where others say what is better: it asks them."""

    def __init__(self, asker: Asker, keep_states: bool, explore: int = 0, hold: int = 1):
        """Say who asks; ``keep_states`` for people, who see what was done.

        What is remembered are decisions, each of ``hold`` control steps.
        """
        self.asker, self.keep_states, self._explore = asker, keep_states, explore
        self._hold = hold
        self._exploring = Exploring(asker.reward) if explore else None
        self.streams: dict[str, RewardStream] = {"preference": self._exploring or asker.reward}
        self._seen: dict[str, float] = {}

    def memory(self, env: VectorEnvironment, capacity: int, seed: int = 0) -> Replay:
        """Make a replay, with what those who answer need to see."""
        extra = {"task_rewards": ArraySpec(())}
        if self.keep_states:
            env.reset(seed=[seed] * env.num_envs)  # before that there is no state
            extra["states"] = ArraySpec(env.get_state().shape[1:], "float64")
        return Replay(env.interface, capacity, env.num_envs, extra)

    def on_step(
        self, learner: Restarting, replay: Replay, first: int, total: int
    ) -> Callable[[int], None]:
        """Give what asks about a replay, ``first`` control steps after it began, and relabels it.

        Nobody is asked any more at the end, after ``total`` of them. The critics of a ``learner``
        that has explored begin anew with the first label, as in PEBBLE.
        """
        taken = replay.environments * self._hold

        def ask(rounds: int) -> None:
            steps, given = rounds * taken, self.asker.reward.labels.given
            if self._look(replay, steps, taken, first) or self._ask(
                replay, steps, taken, first + self._explore, total
            ):
                replay.relabel(self.streams["preference"].relabels)
            if self._exploring and not given and self.asker.reward.labels.given:
                learner.begin_critics()

        return ask

    def _look(self, replay: Replay, steps: int, taken: int, first: int) -> bool:
        """Remember some of what was seen, if it is time and nobody was asked yet; give whether."""
        since = steps - first
        due = since // LOOK_STEPS > (since - taken) // LOOK_STEPS
        if not (0 <= since < self._explore and due):
            return False
        rows = replay.sample(SEEN, np.random.default_rng([self.asker.seed, steps, 3]))
        self._exploring.look(rows["next_observations"]["state"])
        return True

    def on_rollout(
        self, env: VectorEnvironment, horizon: int, total: int
    ) -> Callable[[int, Mapping[str, Any]], None]:
        """Give what asks about a rollout, before it is rewarded."""
        taken = horizon * env.num_envs

        def ask(updates: int, rollout: Mapping[str, Any]) -> None:
            memory = remembered(rollout, env, self.keep_states)
            self._ask(memory, (updates + 1) * taken, taken, taken, total)

        return ask

    def _ask(self, memory: Replay, steps: int, taken: int, first: int, total: int) -> bool:
        """Ask if it is time, but not at the end; give whether something was learnt."""
        if steps >= total or not self.asker.is_due(steps, taken, first):
            return False
        if self._fills_anew(memory, steps, first):
            return False
        found = self.asker.ask(memory, steps)
        self._seen = {f"preference/{name}": value for name, value in found.items()}
        self._seen.pop("preference/labels", None)
        return bool(found)

    def _fills_anew(self, memory: Replay, steps: int, first: int) -> bool:
        """Say whether a replay that was not kept over a stop holds too little to ask about."""
        if len(memory) >= min(steps // self._hold, memory.room):
            return False
        too_few = len(memory) < first // self._hold
        return too_few or not memory.holds(self.asker.reward.config.length)

    def read(self) -> dict[str, float]:
        """Give what to log: the labels so far, and once what was seen when they were learnt."""
        seen, self._seen = self._seen, {}
        return {"labels": self.asker.reward.labels.given, **seen}

    def counters(self) -> dict[str, Any]:
        """Give what a checkpoint keeps beside the reward."""
        return {"answers": self.asker.answers}

    def go_on(self, counters: Mapping[str, Any]) -> None:
        """Take over what ``counters`` gave."""
        self.asker.answers |= counters["answers"]

    def summary(self) -> dict[str, Any]:
        """Say how many labels there were, and how often each answer was given."""
        return {"labels": self.asker.reward.labels.given, "answers": self.asker.answers}

    def draw(self, run: Run, title: str) -> None:
        """Draw the true return of episodes over labels and steps, if any ended."""
        metrics = run.path("metrics.jsonl")
        if len(read_curve(metrics, "return")[0]):
            draw_labels(metrics, title, run.path("report.png"))


@contextlib.contextmanager
def opened(
    config: PreferencesConfig | None,
    env: VectorEnvironment,
    made: EnvConfig,
    run: Run,
    hold: int = 1,
) -> Iterator[Preferences | Unasked]:
    """Make the reward, and have somebody answer as long as this is entered.

    A step of ``env`` takes ``hold`` control steps.
    """
    if config is None:
        yield Unasked()
        return
    if env.horizon is not None and env.horizon < config.reward.length:
        raise UserError(
            f"preferences.reward.length: episodes of {made.name} have {env.horizon} steps, "
            f"segments cannot have {config.reward.length}"
        )
    reward = PreferenceReward(env.interface, config.reward, run.seed, hold=hold)
    with contextlib.ExitStack() as closing:
        respond = _respond(config, env, made, run, closing)
        asker = Asker(reward, config, respond, run.seed)
        yield Preferences(asker, config.people, config.explore, hold)


def _respond(
    config: PreferencesConfig,
    env: VectorEnvironment,
    made: EnvConfig,
    run: Run,
    closing: contextlib.ExitStack,
) -> Respond:
    if not config.people:
        return teacher_responds(config.labeller, run.seed)
    about = {
        "env": made.name,
        "options": made.options,
        "task": config.task,
        "camera": config.camera,
        "labels": config.labels,
    }
    asked = Questionnaire.begin(run.path(FOLDER), env.interface, about)
    attend = closing.enter_context(load(PEOPLE[config.labeller])(asked, config.page))
    return lambda before, questions: asked.respond(before, questions, attend)


@contextlib.contextmanager
def later(asked: Questionnaire, page: Mapping[str, Any]) -> Iterator[Callable[[], None]]:
    """Wait for whoever answers in another process; say, when that begins, how they can."""
    said = False

    def attend() -> None:
        nonlocal said
        if not said:
            how = f"robolearn label run={asked.folder.parent}"
            print(f"robolearn: questions are open; answer them with: {how}", file=sys.stderr,
                  flush=True)  # fmt: skip
            said = True
        time.sleep(POLL_S)

    yield attend


def remembered(rollout: Mapping[str, Any], env: VectorEnvironment, states: bool) -> Replay:
    """Put a rollout, arrays [T, N, ...], into a replay of its size."""
    extra = {"task_rewards": ArraySpec(())}
    if states:
        extra["states"] = ArraySpec(rollout["states"].shape[2:], "float64")
    horizon = len(rollout["actions"])
    memory = Replay(env.interface, horizon * env.num_envs, env.num_envs, extra)
    kept = {name: value for name, value in rollout.items() if name != "reward_terms"}
    for t in range(horizon):
        step = row(kept, t)
        memory.add(step | {"task_rewards": step["rewards"]})
    return memory


def draw_labels(metrics: Path, title: str, path: Path) -> None:
    """Draw the true return over the labels, and over the steps with the labels beside it."""
    steps, returns = read_curve(metrics, "return")
    label_steps, labels = read_curve(metrics, "labels")
    given = labels[np.searchsorted(label_steps, steps)]  # every line has both
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    counts = np.unique(given)
    left.plot(given, returns, "o", color=RAW, markersize=3)
    left.plot(counts, [returns[given == count].mean() for count in counts], color=SMOOTH)
    left.set_xlabel("labels")
    left.set_ylabel("true return of an episode")
    right.plot(steps, returns, color=RAW, linewidth=1)
    right.plot(steps, smooth(returns, max(1, len(returns) // 20)), color=SMOOTH, linewidth=2)
    right.set_xlabel("control steps")
    right.xaxis.set_major_locator(MaxNLocator(5))
    right.xaxis.set_major_formatter("{x:,.0f}")
    beside = right.twinx()
    beside.plot(label_steps, labels, color="#888888", linewidth=1, linestyle="--")
    beside.set_ylabel("labels (dashed)")
    for axes in (left, right):
        axes.spines["top"].set_visible(False)
        axes.grid(axis="y", color="#eeeeee")
    beside.spines["top"].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.savefig(path, dpi=110)
