"""A session: somebody practises, watches, demonstrates, and decides what is kept.

One loop at a fixed rate, in the thread that calls ``run``, and it alone touches the environment and
the device. At each tick a demonstration takes a step, or whatever else is going on does. The table
of what buttons do is in ``docs/teleoperation.md``; here it is ``_REACTIONS``.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import itertools
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from demos.data.dataset import Dataset
from demos.devices.contracts import Button, Command, Device
from demos.session.clock import Clock, RealClock, Ticker
from demos.session.contracts import (
    Decision,
    Ending,
    Frame,
    Live,
    Phase,
    Sight,
    State,
    Status,
    Verdict,
)
from demos.session.judging import OnStep, Scorer
from demos.session.record import circumstances
from demos.session.saving import Saved, Saver
from demos.session.take import Take
from demos.session.teaching import (
    Clip,
    Progress,
    SessionConfig,
    about_rejection,
    to_watch,
)
from demos.session.views import Views
from demos.session.words import Words
from robolearn.errors import DataError
from robolearn.types import Environment, Episode, Step

SWITCH_S = 5e-4
IDLE = (State.WAITING, State.DECIDING, State.SHOWING)
STRIP = 200  # numbers that stand for a whole demonstration
DIFFERS = "the stored actions do not give the same states again, from step {} on"
UNWRITTEN = "{}; it is kept in memory: begin tries again, to leave gives it up"


@dataclass
class Outcome:
    """What has come of a session."""

    kept: int = 0  # of the operator, in the dataset
    attempts: int = 0
    decisions: dict[str, int] = field(default_factory=dict)
    endings: dict[str, int] = field(default_factory=dict)  # what ended how many
    names: list[str] = field(default_factory=list)  # of this session's demonstrations
    ticks: int = 0  # of all demonstrations
    deadlines: int = 0  # those that had no tick too
    missed: int = 0
    jitter_p99_ms: float = 0.0  # of the worst demonstration
    differing: list[str] = field(default_factory=list)  # whose replay gave other states
    replayed: int = 0


class Session:
    """One person, or a scripted operator, with one device in one environment."""

    def __init__(
        self,
        env: Environment,
        device: Device,
        dataset: Dataset | None,
        config: SessionConfig,
        *,
        seed: int = 0,
        start_seed: Callable[[int], int] | None = None,
        clock: Clock | None = None,
        scorer: Scorer | None = None,
        load_base: Callable[[str], Episode] | None = None,
        check_env: Environment | None = None,
        details: Mapping[str, Any] | None = None,
        words: Words | None = None,
    ) -> None:
        """Put it together; nothing moves before ``run``.

        Without a ``dataset`` nothing is written. ``start_seed`` gives the seed of an attempt's
        start, counted from 0 over all sessions of this operator in the dataset, and is asked before
        the device is reset; without it they follow from ``seed``. ``load_base`` gives the base's
        episodes by name, to be watched; the ``scorer`` is then a Guide. ``check_env``, which must
        be nobody else's, is for the replay check. ``details`` (JSON-able) go into every episode's
        metadata; ``words`` are what it says. Raises SpecError unless env and dataset fit.
        """
        if dataset is not None:
            dataset.require_environment(env.interface)
        self.views = Views()
        self._env, self._device, self._dataset = env, device, dataset
        self._config, self._scorer = config, scorer
        self._start_seed = start_seed or functools.partial(_start_seed, seed)
        self._load_base, self._details = load_base, dict(details or {})
        self._words, self._clock = words or Words(), clock or RealClock()
        explain = self._about_rejection if self._shows_rejected else None
        self._saver = Saver(dataset, scorer and scorer.verdict, check_env, explain)
        self._kept = _names(dataset, config.operator, "kept")
        self._earlier = len(_names(dataset, config.operator, None))
        self._progress = Progress(config, learnt=not self._can_learn, kept=len(self._kept))
        self._state, self._problem, self._shown, self._lost = State.WAITING, "", "", ""
        self._pressed: deque[Button] = deque(maxlen=32)
        self._take: Take | None = None
        self._live: OnStep | None = None
        self._levels: list[float] = []
        self._said: Live | None = None
        self._saved: Saved | None = None
        self._ending: Ending | None = None  # of the last demonstration
        self._take_seed: int | None = None
        self._started, self._paused_s, self._counted = "", 0.0, True
        self._asks, self._retry, self._leave = config.ask, False, False
        self._write: Callable[[], Future] | None = None
        self._waits: Future | None = None
        self._unwritten: DataError | None = None  # why what is to be saved is not
        self._then: Callable[[Any], None] = lambda result: None
        self._clips: Iterator[tuple[Clip, int]] = iter(())
        self._numbers, self._sight = itertools.count(), Sight({}, None)
        self._command: Command | None = None
        self._rng = np.random.default_rng([seed, self._earlier])
        self.outcome = Outcome(kept=len(self._kept))
        self._ticker = Ticker(env.interface.period_s, self._clock)
        self.status = self._status()

    def press(self, button: Button) -> None:
        """Press a button; from any thread. It counts at the next tick."""
        self._pressed.append(button)

    def leave(self) -> None:
        """Leave, once what is in progress has ended with its robot, which is stopped, and is saved.

        From a signal's handler, too.
        """
        self._leave = True

    def run(self) -> Outcome:
        """Go on until the goal is reached or somebody leaves; in this thread, the device is open.

        What was finished is on disk when it returns, or when an exception comes out: DataError if
        it cannot be written and who demonstrates leaves it at that, KeyboardInterrupt, which loses
        the demonstration in progress. Of any other, a bug of the device or of the environment, that
        one is on disk too, as discarded.
        """
        with contextlib.ExitStack() as closing:
            closing.enter_context(_threads_give_way())
            closing.callback(self.views.close)
            closing.callback(self._saver.close)
            observation, _ = self._env.reset(seed=self._next_seed())
            self._sight = Sight(observation, self._env.get_state())
            self._go_on()
            self._ticker.restart()
            try:
                while self._state is not State.DONE:
                    now_s = self._ticker.wait()
                    self._tick(now_s)
                    self._show(now_s)
            except Exception:
                if self._state in (State.RUNNING, State.PAUSED):
                    self._finish(Decision.DISCARDED)
                raise
        return self.outcome

    @property
    def last(self) -> Episode | None:
        """The last demonstration that was saved; not to be read while ``run`` is under way."""
        return None if self._saved is None else self._saved.episode

    # a tick

    def _tick(self, now_s: float) -> None:
        self._command = None
        if self._state is State.RUNNING:
            self._step(now_s)
            return
        heard = self._device.listen(now_s)
        self._note_lost(heard.lost)
        self._react(heard.buttons, now_s)
        if self._state is State.PAUSED and self._take.rest():
            self._go_on_with_it(now_s)  # the next step takes down what has stopped it
        if self._leave and (self._state in IDLE or self._unwritten):
            self._quit(now_s)
        if self._state is State.SAVING:
            self._wait_for_disk()
        if self._state is State.SHOWING:
            self._show_next()

    def _note_lost(self, lost: str) -> None:
        """Say that there is no connection, until there is one; of a pause it stays the reason."""
        if lost:
            self._problem = self._lost = lost
        elif self._lost and self._state is not State.PAUSED:
            self._problem = "" if self._problem == self._lost else self._problem
            self._lost = ""

    def _step(self, now_s: float) -> None:
        """Take one step of the demonstration."""
        take = self._take
        command = self._device.command(take.observation, now_s)
        asked_s = self._clock.now()
        self._react(command.buttons, now_s)
        if self._state is not State.RUNNING:
            return
        if command.lost and not take.rest():
            self._note_lost(command.lost)
            self._pause(now_s)
        elif command.ended:
            self._finish(None, Ending.DEVICE)
        elif self._waits_for_motion(command) and not take.rest():
            self._ticker.restart()
            take.began_s = self._clock.now()
        else:
            step = take.step(command, asked_s, self._clock.now())
            self._command, self._sight = command, Sight(take.observation, take.state)
            if self._live is not None:
                self._score(step)
            if take.over:
                self._finish(None, take.ending)

    def _waits_for_motion(self, command: Command) -> bool:
        """Whether nothing has begun that a person must begin."""
        return self._config.from_motion and not len(self._take) and not command.engaged

    def _score(self, step: Step) -> None:
        """Have the judge look at a step; what it cannot score does not end the demonstration."""
        try:
            self._said = self._live(step.observation["state"], step.action)
        except DataError as error:
            self._problem = f"judge: {error}"
        else:
            self._levels.append(self._said.level)

    def _react(self, buttons: Sequence[Button], now_s: float) -> None:
        pressed = [self._pressed.popleft() for _ in range(len(self._pressed))]
        for button in (*pressed, *buttons):
            reaction = _REACTIONS.get((self._state, button))
            if reaction is not None:
                reaction(self, now_s)

    # a demonstration

    def _begin(self, now_s: float, seed: int | None = None, state: Any = None) -> None:
        """Begin a demonstration: from a new start, or the one given."""
        if state is None:
            seed, state = self._next_seed(), self._device.start_state
        config = self._config
        self._take = Take(
            self._env, seed=seed, state=state, horizon=config.horizon,
            settle_steps=config.settle_steps,
        )  # fmt: skip
        self._started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._take_seed = seed
        self._device.reset(1)
        shows = self._scorer is not None and not config.naive
        self._live = self._scorer.live() if shows else None
        self._levels, self._said, self._saved, self._problem = [], None, None, ""
        self._retry = self._counted = False
        self._sight = Sight(self._take.observation, self._take.state)
        self._state = State.RUNNING
        self._ticker.restart()
        self._take.began_s = self._clock.now()

    def _begin_again(self, now_s: float) -> None:
        """Begin in the start state of the last demonstration, if there was one."""
        if self._take is None:
            self._begin(now_s)
        else:
            self._begin(now_s, self._take_seed, self._take.start)

    def _pause(self, now_s: float) -> None:
        self._state, self._paused_s = State.PAUSED, now_s

    def _go_on_with_it(self, now_s: float) -> None:
        """End a pause; what was measured of the rate before it counts too."""
        self._take.pause(now_s - self._paused_s)
        self._problem, self._state = "", State.RUNNING

    def _finish(self, chosen: Decision | None, ending: Ending = Ending.PERSON) -> None:
        """End the demonstration, and have it saved."""
        take, config = self._take, self._config
        self._state, self._ending = State.WAITING, ending
        if not len(take):
            self._decided(None)
            return
        timing = self._ticker.measured()
        setting = self._device.setting
        about = circumstances(self._env) | self._details | {
            "operator": config.operator,
            "task": config.task,
            "phase": str(self._progress.phase),
            "naive": config.naive,
            "attempt": self._earlier + self._progress.attempts,
            "started": self._started,
            "ended": str(ending),
            "device": {"name": self._device.name, "frame": setting.frame, "speed": setting.speed},
            "timing": timing,
        }  # fmt: skip
        if take.stopped:
            about["stopped"] = take.stopped
        episode = take.episode(about)
        episode.metadata["outcome"] = "success" if episode.success else "failure"
        self._measure(timing)
        practice = self._progress.phase is Phase.PRACTICE
        heed = not config.naive
        self._wait(lambda: self._saver.save(episode, chosen, practice, heed), self._take_in)
        self._asks = config.ask and chosen is None and not practice

    def _measure(self, timing: Mapping[str, Any]) -> None:
        self.outcome.ticks += timing["ticks"]
        self.outcome.deadlines += timing["deadlines"]
        self.outcome.missed += timing["missed"]
        worst = max(self.outcome.jitter_p99_ms, timing["jitter_p99_ms"])
        self.outcome.jitter_p99_ms = worst

    def _wait(self, write: Callable[[], Future], then: Callable[[Any], None]) -> None:
        self._write, self._then, self._state = write, then, State.SAVING
        self._waits = write()

    def _wait_for_disk(self) -> None:
        timeout_s = 0.0 if self._clock.real else None
        if self._unwritten or not concurrent.futures.wait([self._waits], timeout_s).done:
            return
        try:
            result = self._waits.result()
        except DataError as error:  # the disk is full: a person can make room, and try again
            if self._leave or not self._clock.real:
                raise
            self._unwritten, self._problem = error, UNWRITTEN.format(error)
            return
        self._state = State.DONE if self._leave else State.WAITING  # asked for meanwhile
        self._then(result)

    def _write_again(self) -> None:
        if self._unwritten:
            self._unwritten, self._problem = None, ""
            self._waits = self._write()

    def _take_in(self, saved: Saved) -> None:
        """Go on with a demonstration that is on disk."""
        self._saved = saved
        if saved.name is not None:
            self.outcome.names.append(saved.name)
        if saved.replay is not None:
            self.outcome.replayed += 1
            if not saved.replay["same"]:
                self.outcome.differing.append(saved.name or str(self._progress.attempts))
                self._problem = DIFFERS.format(saved.replay["first_difference"])
        if self._asks and not self._leave:
            self._state = State.DECIDING
        else:
            self._decided(saved.decision)

    # decisions

    def _decide(self, decision: Decision | None, retry: bool = False) -> None:
        """Decide about the last demonstration, as proposed if ``decision`` is None."""
        saved, self._retry = self._saved, retry
        if decision is None or decision is saved.decision:
            self._decided(saved.decision)
        elif saved.name is None:
            self._decided(decision)
        else:
            self._wait(
                lambda: self._saver.amend(saved.name, decision), lambda _: self._decided(decision)
            )

    def _decided(self, decision: Decision | None) -> None:
        """Count it, and go on with what is next; None for a demonstration without a step."""
        saved, self._counted = self._saved, True
        if decision is not None:
            self._saved = replace(saved, decision=decision)
            self._progress = self._progress.after(decision, saved.episode.success)
            self.outcome.attempts += 1
            for counts, what in (
                (self.outcome.decisions, decision), (self.outcome.endings, self._ending)
            ):  # fmt: skip
                counts[str(what)] = counts.get(str(what), 0) + 1
            if decision is Decision.KEPT:
                self._kept.append(saved.name)
            self.outcome.kept = self._progress.kept
        if self._leave:
            self._state = State.DONE
        elif self._retry and not self._progress.given_up:
            self._begin_again(self._clock.now())
        elif decision is Decision.REJECTED and saved.clips:
            self._show_clips(saved.clips)
        else:
            self._go_on()

    def _undo(self) -> None:
        """Take back the last demonstration that was kept."""
        if not self._kept:
            self._problem = "there is nothing to take back"
            return
        name = self._kept.pop()
        self._progress = self._progress.changed(Decision.KEPT, Decision.UNDONE)
        self.outcome.kept = self._progress.kept
        self._problem = ""
        if name is not None:
            self._wait(lambda: self._saver.amend(name, Decision.UNDONE), lambda _: None)

    def _quit(self, now_s: float) -> None:
        """Leave; what is in progress is saved as it is, not kept."""
        self._leave = True
        if self._state is State.PAUSED and self._take.stop():
            self._go_on_with_it(now_s)  # the next step takes down what has stopped it
        elif self._state in (State.RUNNING, State.PAUSED):
            self._finish(Decision.DISCARDED)
        elif self._state is State.DECIDING:
            self._decide(None)
        elif self._unwritten:
            raise self._unwritten
        elif self._state is not State.SAVING:
            self._state = State.DONE

    def _go_on(self) -> None:
        """Go on with what comes next: the end, something to watch, or the next demonstration."""
        self._state = State.WAITING
        if self._progress.reached or self._progress.given_up:
            self._state = State.DONE
            if self._progress.given_up:
                self._problem = self._words.given_up.format(self._config.attempts)
        elif self._progress.phase is Phase.LEARN:
            closest, count = self._scorer.closest(), self._config.learn
            self._show_clips(to_watch(closest, count, self._load_base, self._rng))

    # what is shown

    @property
    def _can_learn(self) -> bool:
        """Whether there is anything to watch between practice and teaching."""
        wanted = self._config.learn > 0 and not self._config.naive
        return wanted and self._scorer is not None and self._load_base is not None

    @property
    def _shows_rejected(self) -> bool:
        wanted = self._config.show_rejected and not self._config.naive
        return wanted and self._scorer is not None and self._load_base is not None

    def _about_rejection(self, episode: Episode, verdict: Verdict) -> list[Clip]:
        """Find what is to be shown of a rejection; in the saver's thread."""
        return about_rejection(episode, verdict, self._load_base, self._scorer.base)

    def _show_clips(self, clips: Sequence[Clip]) -> None:
        self._clips = ((clip, number) for clip in clips for number in range(len(clip)))
        self._state = State.SHOWING

    def _show_next(self) -> None:
        clip, number = next(self._clips, (None, 0))
        if clip is None:
            self._stop_showing()
        else:
            self._shown, self._sight = clip.title, clip.sight(number)

    def _skip(self) -> None:
        """Go on with the next clip."""
        first, _ = next(self._clips, (None, 0))
        rest = itertools.dropwhile(lambda row: row[0] is first, self._clips)
        self._clips = iter(list(rest))

    def _stop_showing(self) -> None:
        if self._progress.phase is Phase.LEARN:
            self._progress = replace(self._progress, learnt=True)
        self._shown = ""
        self._go_on()

    def _show(self, now_s: float) -> None:
        self.status = self._status()
        observation, state, beside = self._sight
        action = None if self._command is None else np.clip(self._command.action, -1.0, 1.0)
        number = next(self._numbers)
        self.views.show(Frame(number, now_s, observation, state, action, self.status, beside))

    def _status(self) -> Status:
        config, progress, saved = self._config, self._progress, self._saved
        under_way = self._take is not None
        setting = self._device.setting
        if progress.phase is Phase.LEARN:
            saved = None  # what is watched is the base's
        verdict = None if saved is None or config.naive else saved.verdict
        decision = None if saved is None else saved.decision
        said = self._words.message(self._state, self._shown, decision, self._ending)
        if self._state is State.RUNNING and not len(self._take):
            said = self._words.before
        return Status(
            phase=progress.phase,
            state=self._state,
            operator=config.operator,
            task=config.task,
            device=self._device.name,
            frame=setting.frame,
            speed=setting.speed,
            help=self._device.help,
            attempt=progress.attempts + (not self._counted),
            steps=len(self._take) if under_way else 0,
            time_s=len(self._take) * self._ticker.period_s if under_way else 0.0,
            kept=progress.kept,
            goal=config.goal,
            rejected=progress.rejected,
            attempts=progress.attempts,
            gripper=self._gripper(),
            engaged=self._command is not None and self._command.engaged,
            intervention=self._command is not None and self._command.intervention,
            live=self._said if progress.phase is not Phase.LEARN else None,
            strip=_strip(self._levels) if progress.phase is not Phase.LEARN else (),
            verdict=verdict,
            decision=str(decision or ""),
            message=said,
            problem=self._problem,
            missed=self._ticker.missed,
            deadlines=self._ticker.deadlines,
        )

    def _gripper(self) -> str:
        names = self._env.interface.action.names
        if self._command is None or "gripper" not in names:
            return ""
        return "closed" if self._command.action[names.index("gripper")] > 0 else "open"

    def _next_seed(self) -> int:
        """Give the seed of the next start."""
        return self._start_seed(self._earlier + self._progress.attempts)


def _discard_and_retry(session: Session, now_s: float) -> None:
    session._retry = True
    session._finish(Decision.DISCARDED)


_RUNNING = {
    Button.END: lambda s, now_s: s._finish(None),
    Button.KEEP: lambda s, now_s: s._finish(Decision.KEPT),
    Button.DISCARD: lambda s, now_s: s._finish(Decision.DISCARDED),
    Button.RETRY: _discard_and_retry,
    Button.QUIT: lambda s, now_s: s._quit(now_s),
}
_TABLE: dict[State, dict[Button, Callable[[Session, float], None]]] = {
    State.WAITING: {
        Button.START: lambda s, now_s: s._begin(now_s),
        Button.RETRY: lambda s, now_s: s._begin_again(now_s),
        Button.UNDO: lambda s, now_s: s._undo(),
        Button.QUIT: lambda s, now_s: s._quit(now_s),
    },
    State.RUNNING: _RUNNING | {Button.PAUSE: lambda s, now_s: s._pause(now_s)},
    State.PAUSED: _RUNNING | {Button.START: lambda s, now_s: s._go_on_with_it(now_s)},
    State.SAVING: {
        Button.START: lambda s, now_s: s._write_again(),
        Button.QUIT: lambda s, now_s: s._quit(now_s),
    },
    State.DECIDING: {
        Button.START: lambda s, now_s: s._decide(None),
        Button.KEEP: lambda s, now_s: s._decide(Decision.KEPT),
        Button.DISCARD: lambda s, now_s: s._decide(Decision.DISCARDED),
        Button.RETRY: lambda s, now_s: s._decide(Decision.DISCARDED, retry=True),
        Button.QUIT: lambda s, now_s: s._quit(now_s),
    },
    State.SHOWING: {
        Button.START: lambda s, now_s: s._skip(),
        Button.SKIP: lambda s, now_s: s._skip(),
        Button.END: lambda s, now_s: s._stop_showing(),
        Button.QUIT: lambda s, now_s: s._quit(now_s),
    },
}
_REACTIONS = {(state, button): do for state, row in _TABLE.items() for button, do in row.items()}


@contextlib.contextmanager
def _threads_give_way() -> Iterator[None]:
    """Have other threads of Python hand over after half a millisecond, not five.

    A control step asks for the interpreter some dozen times, after every wait and compiled call.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _start_seed(seed: int, attempt: int) -> int:
    return int(np.random.SeedSequence([seed, attempt]).generate_state(1)[0])


def _names(dataset: Dataset | None, operator: str, mask: str | None) -> list[str | None]:
    """Name an operator's demonstrations, in a mask, that are there already."""
    if dataset is None:
        return []
    mine = [n for n in dataset.names() if dataset.metadata(n).get("operator") == operator]
    chosen = mine if mask is None else dataset.masks().get(mask, [])
    return [name for name in mine if name in set(chosen)]


def _strip(levels: Sequence[float]) -> tuple[float, ...]:
    """Give the levels of a whole demonstration, the highest of each part of it."""
    if len(levels) <= STRIP:
        return tuple(levels)
    return tuple(float(part.max()) for part in np.array_split(np.array(levels), STRIP))
