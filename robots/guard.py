"""The guard: a robot that can be given any command at any time, in front of a driver.

It is a ``robots.base.Robot`` itself, so that whatever drives a robot drives a guarded one without
knowing. What passes through:

- commands go through ``robots.safety.safe_command``: the first begins where the arm is, and for the
  first seconds the arm is slow;
- a command that is not finite or has another shape is refused, and the arm comes to rest;
- without a command for a while the arm comes to rest, and later it is stopped;
- observations too old, a camera that has frozen, a joint that is not where it was sent (blocked,
  or counting the other way than its motor goes), an encoder that jumps, and a lost device stop it,
  and it stays stopped: a latch, which ``reset_stop`` opens again;
- ``emergency_stop`` does the same at anybody's request, from any thread.

While it is active a thread of its own watches it (``robots.watchdog``): where nobody calls it takes
the steps, and makes the stops that were called for. A stop is proven: it holds once the arm has
been seen at rest, and if it is not seen so within ``GuardConfig.prove_s``, or cannot be looked at,
the torque is taken away.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import numpy as np

from robolearn.errors import UserError
from robots.arm_model import ArmModel
from robots.base import (
    JOINTS,
    BusError,
    Clock,
    LifeCycle,
    LostError,
    Robot,
    RobotError,
    Values,
    named,
    quantity,
    vector,
)
from robots.commanding import Commander, Record, exchanged
from robots.front import InFront
from robots.geometry import Geometry
from robots.latch import Latch, StopError
from robots.safety import Commanded, Limits, SafetyConfig, limits_of
from robots.stopping import Stopper, parts_of
from robots.watch import EncoderWatch, GuardConfig, require_within
from robots.watchdog import OVERDUE, Watchdog, take_turn


def _in_turn(method: Callable[..., Any]) -> Callable[..., Any]:
    """Have one thread at a time call the guard; whoever gets a StopError knows of that stop."""

    @functools.wraps(method)
    def call(self: Guard, *arguments: Any, **named_arguments: Any) -> Any:
        take_turn(self)
        try:
            return method(self, *arguments, **named_arguments)
        except StopError as error:
            self._latch.told = error.stops
            raise
        finally:
            self.turn.release()

    return call


class Guard(InFront):
    """A guarded Robot; see the module. One thread drives it, any may call ``emergency_stop``.

    Who calls the robot past its guard, while that is active, holds ``turn`` meanwhile. A loop that
    calls in every period, whatever happens, may set ``watched`` to False before it is activated.
    """

    def __init__(
        self,
        robot: Robot,
        period_s: float,
        *,
        safe: SafetyConfig | None = None,
        config: GuardConfig | None = None,
        arm: ArmModel | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """``period_s`` is the time between two commands. ``arm`` is the robot's model.

        Without a model there is neither a workspace box nor a look at collisions: UserError where
        they are asked for.
        """
        safe = safe or SafetyConfig()
        super().__init__(robot)
        self.period_s, self.clock = period_s, clock
        self.turn = threading.RLock()
        self.config = config or GuardConfig()
        geometry = _geometry(robot, arm, safe)
        self.limits: Limits = limits_of(robot.joints, safe, period_s, geometry)
        self._watch = EncoderWatch(self.limits, self.config)
        self._commands = Commander(robot, self.limits, self.config, period_s)
        self._latch = Latch()
        self._stopped_behind = (
            False  # by a guard of the robot's own: one that is at another machine
        )
        self._stopper = Stopper(
            list(parts_of(robot, self.limits.motion[1] - self.limits.motion[0])),
            self._look,
            clock,
            lambda: self.sleep(period_s),
            self.config.prove_s,
        )
        self.watched = getattr(clock, "real", True)  # not by a thread in simulated time
        self._watchdog: Watchdog | None = None
        self._asked_s = 0.0
        self._seen: Values = {}

    # how it is

    @property
    def commanded(self) -> np.ndarray:
        """The last command [J]; RobotError before it is activated."""
        return self._memory().position

    @property
    def due_s(self) -> float:
        """From when on, by its clock, the next command is sent."""
        return self._commands.due_s

    @property
    def record(self) -> Record:
        """What became of the last command."""
        return self._commands.record

    @property
    def is_active(self) -> bool:
        """Whether it has begun, and takes commands."""
        return self._commands.state is not None and not self.is_stopped

    @property
    def at_rest(self) -> bool:
        """Whether the commands have come to rest."""
        return self._memory().at_rest

    @property
    def is_stopped(self) -> bool:
        """Whether the latch is closed."""
        return self._latch.is_closed

    @property
    def reason(self) -> str:
        """Why it is stopped; "" while it is not."""
        return self._latch.reason

    @property
    def silent(self) -> bool:
        """Whether it is stopped because no command came, and for nothing else."""
        return self._latch.silent

    @property
    def stops(self) -> int:
        """How often a stop was called for, from any thread."""
        return self._latch.stops

    @_in_turn
    def connect(self, calibrate: bool = True) -> None:
        """Connect the robot."""
        self.robot.connect(calibrate)

    @_in_turn
    def calibrate(self) -> None:
        """Calibrate the robot."""
        self.robot.calibrate()

    @_in_turn
    def configure(self) -> None:
        """Configure the robot."""
        self.robot.configure()

    @_in_turn
    def activate(self) -> None:
        """Look where the arm is, and begin there; in a dry run the robot is not activated.

        It is looked at before and after it is activated, which may take its time. Raises StopError
        while it is stopped, and where the arm moved in between; UserError where it is so far
        outside its limits that its calibration is wrong.
        """
        self.require_open()
        positions = quantity(self.joints, self._read())
        require_within(self.limits, positions, self.name)
        if not self.config.dry_run:
            with self._noticing(StopError):
                self.robot.activate()
            self._commands.begin(positions, self.clock())  # from now on a stop is made
            positions = self._looked_again(positions)
        self._begin(positions)

    def _looked_again(self, before: np.ndarray) -> np.ndarray:
        """Give where the activated arm is, [J]; stop it if that is not where it was."""
        try:
            now = quantity(self.joints, self._read())
            require_within(self.limits, now, self.name)
        except Exception as error:  # a bug of the driver's leaves no arm active either
            self._stop(str(error) or type(error).__name__)
        moved = np.abs(now - before) / np.array([j.upper - j.lower for j in self.joints])
        j = int(moved.argmax())
        if moved[j] > self.config.follow:
            self._stop(
                f"{self.joints[j].name} went from {before[j]:.2f} to {now[j]:.2f} while it was "
                "activated"
            )
        return now

    @_in_turn
    def get_observation(self) -> Values:
        """Measure; a reading that cannot be trusted stops the arm.

        Noise on the bus is asked again a few times; if that does not help, the last values come
        once more, with their old time in ``measured_s``, until they are too old. Raises StopError
        in place of all that stops the arm, once it is stopped.
        """
        if self._commands.state is None:
            return self._read()
        self.require_open()
        now_s = self.clock()
        self._require_spoken_to(now_s)
        try:
            with self._noticing(LostError, StopError):
                values = self._read()
        except BusError as error:
            age_s = self.clock() - self.measured_s[JOINTS]
            if age_s > self.config.stale_s:
                self._stop(f"nothing to rely on for {age_s:.2f} s: {error}")
            return self._seen
        self._check(values)
        return values

    @_in_turn
    def send_action(self, action: Mapping[str, float]) -> dict[str, float]:
        """Send what is safe of an action; give what was sent.

        One that comes before its period is not sent: it is the target of the next ``tick``, and the
        last command is given. Raises StopError while it is stopped; SpecError and DataError for an
        action that is refused, and then the arm has begun its way to rest.
        """
        self.require_open()
        now_s = self.clock()
        try:
            target = vector(self.joints, action, f"{self.name}: action")
        except UserError as error:
            self.rest(f"refused: {error}")
            raise
        self._memory()
        self._require_spoken_to(now_s)
        self._require_seen(now_s)
        self._asked_s = now_s
        if now_s < self.due_s:
            self._commands.postpone(now_s, target)
        else:
            self._step(now_s, target)
        sent = self.commanded if self.record.sent is None else self.record.sent
        return named(self.joints, {"pos": sent})

    @_in_turn
    def tick(self) -> None:
        """Take a period's step without a command: what is under way goes on, or comes to rest.

        Before the period is over nothing is done. Raises StopError once no command has come for
        ``stop_s``.
        """
        self.require_open()
        now_s = self.clock()
        self._require_spoken_to(now_s)
        silent_s = now_s - self._asked_s
        if now_s < self.due_s:
            return
        if silent_s > self.config.hold_s or self.record.asked is None:
            self._rest(now_s, f"no command for {1e3 * silent_s:.0f} ms")
        else:
            self._step(now_s, self.record.asked)

    @_in_turn
    def rest(self, words: str) -> None:
        """Come to rest from now on, and say why; StopError while it is stopped."""
        self.require_open()
        self._rest(self.clock(), words)

    @_in_turn
    def pause(self, words: str = "paused") -> None:
        """Come to rest as somebody's command: while it comes in every period, it is no silence.

        Raises StopError as ``send_action``.
        """
        self.require_open()
        self._memory()
        now_s = self.clock()
        self._require_spoken_to(now_s)
        self._require_seen(now_s)
        self._asked_s = now_s
        self._rest(now_s, words)

    @_in_turn
    def stop(self) -> None:
        """Stop the robot and prove it; unlike ``emergency_stop`` it may be activated again.

        Raises StopError, and closes the latch, where it is not proven.
        """
        fault = self._bring_to_rest()
        if fault:
            self._stop(f"told to stop{fault}")

    @_in_turn
    def deactivate(self) -> None:
        """Let go."""
        with self._ending():
            self.robot.deactivate()

    @_in_turn
    def disconnect(self) -> None:
        """Disconnect the robot; an active one is stopped before, and a warning says what failed."""
        active = self._commands.state is not None
        with self._ending():
            fault = self._stopper.stop() if active and not self.config.dry_run else ""
            self.robot.disconnect()
        if fault:
            warnings.warn(f"{self.name}: disconnected{fault}", stacklevel=2)

    # stops

    def watch(self) -> None:
        """Act in place of whoever is silent, as the watchdog does in every period.

        A stop that was called for is made, and a command that is half a period overdue is given.
        Raises StopError as ``tick``; nobody has been told by that.
        """
        with self.turn:
            told = self._latch.told
            try:
                self._look_after()
            finally:
                self._latch.told = told

    def _look_after(self) -> None:
        if self._commands.state is None:
            return
        self.require_open()
        now_s = self.clock()
        if now_s < self.due_s + OVERDUE * self.period_s:
            return
        if now_s - self.measured_s[JOINTS] >= self.period_s:
            self.get_observation()
        self.tick()

    def emergency_stop(self, reason: str = "emergency stop") -> None:
        """Close the latch; from any thread, and without waiting for the one that drives.

        The arm is stopped by the next call of whoever drives it, or by its watchdog.
        """
        self._latch.close(reason)

    @_in_turn
    def reset_stop(self, stops: int | None = None) -> None:
        """Open the latch; the arm stays inactive until it is activated.

        Raises StopError if a stop was called for that nobody has been told of, by a StopError: the
        latch stays closed, and a second call opens it. ``stops``, what ``Guard.stops`` was when
        somebody looked at ``reason``, says of how many they know. A guard behind this one that has
        stopped the robot is reset too.
        """
        if self.is_stopped and self._commands.state is not None:
            self._stopped()
        if not self._latch.open(self._latch.told if stops is None else stops):
            self._stopped()
        if self._stopped_behind:
            with self._noticing(LostError, StopError):
                self.robot.reset_stop()
            self._stopped_behind = False

    @_in_turn
    def require_open(self) -> None:
        """Raise StopError while it is stopped."""
        if self.is_stopped:
            self._stopped()

    def _stop(self, reason: str, silence: bool = False) -> NoReturn:
        """Close the latch, stop, and raise StopError."""
        self._latch.close(reason, silence)
        self._stopped()

    def _stopped(self) -> NoReturn:
        """Stop the arm, if that has not been done, and raise StopError."""
        if self._commands.state is not None or self.robot.life_cycle is LifeCycle.ACTIVE:
            self._commands.record = Record(self.clock(), None, None, (f"stopped: {self.reason}",))
            self._latch.add(self._bring_to_rest())
        raise self._latch.error(self.name)

    def _bring_to_rest(self) -> str:
        """Command nothing any more; stop, and say what failed of it."""
        with self._ending():
            return "" if self.config.dry_run else self._stopper.stop()

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        """Command nothing any more; the watchdog stays until it is done, lest a call hangs."""
        self._commands.end()
        try:
            yield
        finally:
            if self._watchdog is not None:
                self._watchdog.end()
                self._watchdog = None

    def sleep(self, seconds: float) -> None:
        """Wait, on the clock's own terms: a clock that can be slept on has ``sleep``."""
        getattr(self.clock, "sleep", time.sleep)(seconds)

    # commands

    def _begin(self, positions: np.ndarray) -> None:
        self._asked_s = self.clock()
        self._commands.begin(positions, self._asked_s)
        self._watch.begin(positions, self._asked_s)
        if self.watched and self._watchdog is None:  # a dry run may begin anew
            self._watchdog = Watchdog(self)
            self._watchdog.start()

    def _memory(self) -> Commanded:
        commanded = self._commands.state
        if commanded is None and self.is_stopped:
            error = self._latch.error(self.name)
            self._latch.told = error.stops
            raise error
        if commanded is None:
            raise RobotError(f"{self.name}: send_action() before activate()")
        return commanded

    def _require_spoken_to(self, now_s: float) -> None:
        silent_s = now_s - self._asked_s
        if silent_s > self.config.stop_s:
            self._stop(f"no command for {silent_s:.1f} s", silence=True)

    def _require_seen(self, now_s: float) -> None:
        age_s = now_s - self.measured_s.get(JOINTS, -math.inf)
        if age_s > self.config.stale_s:
            self._stop(f"a command that rests on nothing: {JOINTS} were measured {age_s:.2f} s ago")

    def _step(self, now_s: float, target: np.ndarray) -> None:
        seen = quantity(self.joints, self._seen) if self._seen else None
        with self._noticing(LostError, StopError):
            self._commands.step(now_s, target, seen)

    def _rest(self, now_s: float, words: str) -> None:
        self._memory()
        with self._noticing(LostError, StopError):
            self._commands.rest(now_s, words)

    @contextlib.contextmanager
    def _noticing(self, *kinds: type[RobotError]) -> Iterator[None]:
        """Stop for what a driver raises; a StopError comes from another guard behind this one."""
        try:
            yield
        except kinds as error:
            self._stopped_behind |= isinstance(error, StopError)
            self._stop(str(error))

    # observations

    def _read(self) -> Values:
        self._seen = exchanged(self.robot.get_observation)
        return self._seen

    def _look(self, arm: Robot) -> np.ndarray:
        """Give where an arm is, [J]; BusError for positions from before this very call."""
        now_s = self.clock()
        positions = quantity(arm.joints, exchanged(arm.get_observation))
        if arm.measured_s[JOINTS] < now_s:
            raise BusError(f"nothing new was measured of {arm.name}")
        return positions

    def _check(self, values: Values) -> None:
        now_s = self.clock()
        for name, at_s in self.measured_s.items():
            most_s = self.config.stale_s if name == JOINTS else self.config.stale_camera_s
            if now_s - at_s > most_s:
                self._stop(f"{name}: nothing new for {now_s - at_s:.2f} s")
        positions = quantity(self.joints, values)
        for j in np.flatnonzero(~np.isfinite(positions)):
            self._stop(f"{self.joints[j].name} is measured at {positions[j]}")
        fault = self._watch.look(positions, self._memory().position, self._commands.sent_s, now_s)
        if fault and not self.config.dry_run:
            self._stop(fault)


def _geometry(robot: Robot, arm: ArmModel | None, safe: SafetyConfig) -> Geometry | None:
    if arm is None:
        if safe.box_m is not None:
            raise UserError(f"box_m: {robot.name} has no model to say where its hand is")
        return None
    if [joint.name for joint in arm.joints] != [joint.name for joint in robot.joints]:
        raise UserError(f"model {arm.name}: its joints are not those of {robot.name}")
    return Geometry(arm, safe.box_m, floor=safe.collisions, pairs=safe.collisions)
