"""The guard: a robot that can be given any command at any time, in front of a driver.

It is a ``robots.base.Robot`` itself, so that whatever drives a robot drives a guarded one without
knowing. What passes through:

- commands go through ``robots.safety.safe_command``: the first begins where the arm is, and for the
  first seconds the arm is slow;
- a command that is not finite or has another shape is refused, and the arm comes to rest;
- without a command for a while the arm comes to rest (``tick``), and later it is stopped;
- observations too old, a camera that has frozen, a joint that is not where it was sent (blocked,
  or counting the other way than its motor goes), an encoder that jumps, and a lost device stop it,
  and it stays stopped: a latch, which ``reset_stop`` opens again;
- ``emergency_stop`` does the same at anybody's request, from any thread.

A stop is proven: it holds once the arm has been seen at rest, and if it is not seen so within
``GuardConfig.prove_s``, or cannot be looked at, the torque is taken away.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.errors import UserError
from robots import safety
from robots.arm_model import ArmModel
from robots.base import (
    JOINTS,
    BusError,
    Clock,
    Features,
    Joint,
    LifeCycle,
    LostError,
    Robot,
    RobotError,
    Values,
    named,
    quantity,
    vector,
)
from robots.geometry import Geometry
from robots.safety import Commanded, Limits, Safe, SafetyConfig, limits_of
from robots.watch import EncoderWatch, GuardConfig, require_within

ROUNDING_S = 1e-9  # of sums of periods
EARLY = "it came before its period; nothing was sent yet"
JITTER = 0.05  # share of a period by which two commands may be closer, after one that was late
AT_REST = 0.003  # share of a joint's range: one that moves less in ``LOOK_S`` is at rest
LOOK_S = 0.1
TRIES = 3  # of an exchange in which noise was heard, and of a stop
CUT = "cut its power"


@dataclass(frozen=True)
class Record:
    """What became of one command."""

    time_s: float
    asked: np.ndarray | None  # [J]; None: nothing came
    sent: np.ndarray | None  # [J]; None: nothing was sent
    words: tuple[str, ...] = ()  # what was changed or refused, and why


class StopError(RobotError):
    """The arm has been stopped, and takes no command until ``reset_stop``."""


class Guard:
    """A guarded Robot; see the module. One thread drives it, any may call ``emergency_stop``."""

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
        self.robot, self.period_s, self.clock = robot, period_s, clock
        self.config = config or GuardConfig()
        geometry = _geometry(robot, arm, safe)
        self.limits: Limits = limits_of(robot.joints, safe, period_s, geometry)
        self._watch = EncoderWatch(self.limits, self.config, period_s)
        self._commanded: Commanded | None = None
        self._latch = threading.Event()
        self._lock = threading.Lock()  # of the latch, its reason, and their number
        self.stops = 0  # how often a stop was called for, from any thread
        self.reason = ""  # why it is stopped; "" while it is not
        self.record = Record(0.0, None, None)
        self._began_s = self._last_s = self._asked_s = 0.0
        self._due_s = 0.0  # before this nothing is sent
        self._seen: Values = {}
        self._warm_up()

    # a Robot

    @property
    def name(self) -> str:
        """The robot's."""
        return self.robot.name

    @property
    def joints(self) -> tuple[Joint, ...]:
        """The robot's."""
        return self.robot.joints

    @property
    def life_cycle(self) -> LifeCycle:
        """The robot's."""
        return self.robot.life_cycle

    @property
    def observation_features(self) -> Features:
        """The robot's."""
        return self.robot.observation_features

    @property
    def action_features(self) -> Features:
        """The robot's."""
        return self.robot.action_features

    @property
    def is_connected(self) -> bool:
        """The robot's."""
        return self.robot.is_connected

    @property
    def is_calibrated(self) -> bool:
        """The robot's."""
        return self.robot.is_calibrated

    @property
    def measured_s(self) -> Mapping[str, float]:
        """The robot's."""
        return self.robot.measured_s

    @property
    def commanded(self) -> np.ndarray:
        """The last command [J]; RobotError before it is activated."""
        return self._memory().position

    @property
    def due_s(self) -> float:
        """From when on, by its clock, the next command is sent."""
        return self._due_s

    @property
    def is_active(self) -> bool:
        """Whether it has begun, and takes commands."""
        return self._commanded is not None and not self.is_stopped

    @property
    def at_rest(self) -> bool:
        """Whether the commands have come to rest."""
        return self._memory().at_rest

    @property
    def is_stopped(self) -> bool:
        """Whether the latch is closed."""
        return self._latch.is_set()

    def connect(self, calibrate: bool = True) -> None:
        """Connect the robot."""
        self.robot.connect(calibrate)

    def calibrate(self) -> None:
        """Calibrate the robot."""
        self.robot.calibrate()

    def configure(self) -> None:
        """Configure the robot."""
        self.robot.configure()

    def activate(self) -> None:
        """Look where the arm is, and begin there; in a dry run the robot is not activated.

        It is looked at before and after it is activated, which may take its time. Raises StopError
        while it is stopped, and where the arm moved in between; UserError where it is so far
        outside its limits that its calibration is wrong.
        """
        self._require_open()
        positions = quantity(self.joints, self._read())
        require_within(self.limits, positions, self.name)
        if not self.config.dry_run:
            self.robot.activate()
            positions = self._looked_again(positions)
        self._begin(positions)

    def _looked_again(self, before: np.ndarray) -> np.ndarray:
        """Give where the activated arm is, [J]; stop it if that is not where it was."""
        try:
            now = quantity(self.joints, self._read())
            require_within(self.limits, now, self.name)
        except UserError as error:
            self._stop(str(error))
        moved = np.abs(now - before) / np.array([j.upper - j.lower for j in self.joints])
        j = int(moved.argmax())
        if moved[j] > self.config.follow:
            self._stop(
                f"{self.joints[j].name} went from {before[j]:.2f} to {now[j]:.2f} while it was "
                "activated"
            )
        return now

    def get_observation(self) -> Values:
        """Measure; a reading that cannot be trusted stops the arm.

        Noise on the bus is asked again a few times; if that does not help, the last values come
        once more, with their old time in ``measured_s``, until they are too old. Raises StopError
        in place of all that stops the arm, once it is stopped.
        """
        if self._commanded is None or self.is_stopped:
            return self._read()
        now_s = self.clock()
        self._require_spoken_to(now_s)
        try:
            values = self._read()
        except LostError as error:
            self._stop(str(error))
        except BusError as error:
            age_s = now_s - self.measured_s[JOINTS]
            if age_s > self.config.stale_s:
                self._stop(f"nothing to rely on for {age_s:.2f} s: {error}")
            return self._seen
        self._check(values)
        return values

    def send_action(self, action: Mapping[str, float]) -> dict[str, float]:
        """Send what is safe of an action; give what was sent.

        One that comes before its period is not sent: it is the target of the next ``tick``, and the
        last command is given. Raises StopError while it is stopped; SpecError and DataError for an
        action that is refused, and then the arm has begun its way to rest.
        """
        self._require_open()
        now_s = self.clock()
        try:
            target = vector(self.joints, action, f"{self.name}: action")
        except UserError as error:
            self.rest(f"refused: {error}")
            raise
        if self._commanded is not None:
            self._require_spoken_to(now_s)
            self._require_seen(now_s)
        self._asked_s = now_s
        if self._commanded is not None and now_s < self._due_s:
            self.record = Record(now_s, target, None, (EARLY,))
            return named(self.joints, {"pos": self._commanded.position})
        self._step(now_s, target)
        sent = self.commanded if self.record.sent is None else self.record.sent
        return named(self.joints, {"pos": sent})

    def tick(self) -> None:
        """Take a period's step without a command: what is under way goes on, or comes to rest.

        Before the period is over nothing is done. Raises StopError once no command has come for
        ``stop_s``.
        """
        self._require_open()
        now_s = self.clock()
        self._require_spoken_to(now_s)
        silent_s = now_s - self._asked_s
        if now_s < self._due_s:
            return
        if silent_s > self.config.hold_s or self.record.asked is None:
            self._rest(now_s, f"no command for {1e3 * silent_s:.0f} ms")
        else:
            self._step(now_s, self.record.asked)

    def rest(self, words: str) -> None:
        """Come to rest from now on, and say why; StopError while it is stopped."""
        self._require_open()
        now_s = self.clock()
        if self._commanded is None or now_s >= self._due_s:
            self._rest(now_s, words)
        else:  # it begins with the next ``tick``
            self.record = Record(now_s, None, self.record.sent, (words,))

    def stop(self) -> None:
        """Stop the robot and prove it; unlike ``emergency_stop`` it may be activated again.

        Raises StopError, and closes the latch, where it is not proven.
        """
        fault = self._bring_to_rest()
        self._commanded = None
        if fault:
            self._stop(f"told to stop{fault}")

    def deactivate(self) -> None:
        """Let go."""
        self._commanded = None
        self.robot.deactivate()

    def disconnect(self) -> None:
        """Disconnect the robot."""
        self._commanded = None
        self.robot.disconnect()

    # stops

    def emergency_stop(self, reason: str = "emergency stop") -> None:
        """Close the latch; from any thread. The driving thread stops the arm at its next call."""
        self._close_latch(reason)

    def reset_stop(self, stops: int | None = None) -> None:
        """Open the latch; the arm stays inactive until it is activated.

        ``stops`` is what ``Guard.stops`` was when somebody looked at the reason: the latch stays
        closed if a stop was called for since.
        """
        with self._lock:
            if stops is not None and stops != self.stops:
                return
            self._commanded = None
            self.reason = ""
            self._latch.clear()

    def _close_latch(self, reason: str) -> None:
        with self._lock:
            self.stops += 1
            self.reason = self.reason or reason
            self._latch.set()

    def _require_open(self) -> None:
        if self._latch.is_set():
            self._stop(self.reason)

    def _stop(self, reason: str) -> None:
        """Stop, close the latch, and raise StopError."""
        self._close_latch(reason)
        if self._commanded is not None or self.robot.life_cycle is LifeCycle.ACTIVE:
            self._commanded = None
            self.record = Record(self.clock(), None, None, (f"stopped: {self.reason}",))
            proof = self._bring_to_rest()
            self.reason += proof
        raise StopError(f"{self.name}: stopped: {self.reason}; reset_stop() when that is put right")

    def _bring_to_rest(self) -> str:
        """Stop the robot; take the torque away if it is not seen at rest. Say what failed.

        Whatever the driver raises, every one of these is tried, and nothing is raised.
        """
        if self.config.dry_run or self.robot.life_cycle is LifeCycle.UNCONFIGURED:
            return ""
        fault = self._tried(self.robot.stop)
        rests, unseen = (False, "") if fault else self._proven()
        if rests:
            return ""
        untaken = self._tried(self.robot.deactivate)
        rests, still_unseen = self._proven()
        why = "it was not seen at rest"
        if fault or unseen:
            why = f"it could not be {'told to stop' if fault else 'looked at'}: {fault or unseen}"
        if rests and not untaken:
            return f"; {why}, so its torque was taken away"
        if not untaken and still_unseen:
            return f"; {why}; its torque was taken away, and nothing shows that it rests: {CUT}"
        if rests or still_unseen:
            return f"; {why}; its torque could not be taken away: {CUT}"
        return f"; {why}; IT STILL MOVES, whatever it is told: {CUT}"

    def _tried(self, call: Callable[[], None]) -> str:
        """Call until it succeeds, a few times, whatever is raised; give what was raised last."""
        fault = ""
        for _ in range(TRIES):
            try:
                call()
                return ""
            except Exception as error:  # nothing may keep an arm from being stopped
                fault = str(error) or type(error).__name__
        return fault

    def _proven(self) -> tuple[bool, str]:
        """Give whether the arm is seen at rest, and what kept it from being looked at."""
        try:
            return self._seen_at_rest(), ""
        except Exception as error:
            return False, str(error) or type(error).__name__

    def _seen_at_rest(self) -> bool:
        """Look until the arm has been still for a while, or ``prove_s`` is over."""
        span = self.limits.motion[1] - self.limits.motion[0]
        began_s, looks = self.clock(), []
        while True:
            now_s, now = self.clock(), quantity(self.joints, self._read())
            earlier = [seen for at_s, seen in looks if now_s - at_s >= LOOK_S - 1e-9]
            if earlier and (np.abs(now - earlier[-1]) <= AT_REST * span).all():
                return True
            if now_s - began_s >= self.config.prove_s:
                return False
            looks.append((now_s, now))
            self.sleep(self.period_s)

    def sleep(self, seconds: float) -> None:
        """Wait, on the clock's own terms: a clock that can be slept on has ``sleep``."""
        getattr(self.clock, "sleep", time.sleep)(seconds)

    # commands

    def _begin(self, positions: np.ndarray) -> None:
        self._commanded = safety.begin(self.limits, positions)
        self._began_s = self._asked_s = self.clock()
        self._last_s = self._due_s = self._began_s
        self._watch.begin(positions, self._began_s)
        self.record = Record(self._began_s, None, None)

    def _memory(self) -> Commanded:
        if self._commanded is None:
            raise RobotError(f"{self.name}: send_action() before activate()")
        return self._commanded

    def _slowed(self, now_s: float) -> Limits:
        """Give the limits of now: for the first seconds a share of the velocities."""
        since_s, config = now_s - self._began_s, self.config
        if since_s >= config.ramp_s:
            return self.limits
        share = config.ramp_from + (1 - config.ramp_from) * since_s / config.ramp_s
        return self.limits.slower(share)

    def _require_spoken_to(self, now_s: float) -> None:
        silent_s = now_s - self._asked_s
        if silent_s > self.config.stop_s:
            self._stop(f"no command for {silent_s:.1f} s")

    def _require_seen(self, now_s: float) -> None:
        age_s = now_s - self.measured_s.get(JOINTS, -math.inf)
        if age_s > self.config.stale_s:
            self._stop(f"a command that rests on nothing: {JOINTS} were measured {age_s:.2f} s ago")

    def _step(self, now_s: float, target: np.ndarray) -> None:
        """Send what is safe of a target [J]."""
        if now_s - self._last_s > self.config.hold_s:  # by now the arm rests at its last command
            self._commanded = safety.at_rest(self._memory())
        seen = quantity(self.joints, self._seen) if self._seen else None
        safe = safety.safe_command(self._slowed(now_s), self._memory(), target, seen)
        self._send(now_s, target, safe, tuple(map(str, safe.changes)))

    def _rest(self, now_s: float, words: str) -> None:
        safe = safety.stopping_command(self.limits, self._memory())
        self._send(now_s, None, safe, (words,))

    def _send(
        self, now_s: float, asked: np.ndarray | None, safe: Safe, words: tuple[str, ...]
    ) -> None:
        sent = safe.position
        self._due_s = max(self._due_s, now_s - JITTER * self.period_s) + self.period_s - ROUNDING_S
        if not self.config.dry_run:
            action = named(self.joints, {"pos": safe.position})
            try:
                given = self._exchange(lambda: self.robot.send_action(action))
                sent = quantity(self.joints, given)
            except BusError as error:  # the same comes next: two steps at once would be too fast
                self.record = Record(now_s, asked, None, (f"not sent: {error}",))
                return
            except LostError as error:
                self._stop(str(error))
        self._commanded, self._last_s = safe.after, now_s
        self.record = Record(now_s, asked, sent, words)

    # observations

    def _read(self) -> Values:
        self._seen = self._exchange(self.robot.get_observation)
        return self._seen

    def _exchange(self, call: Any) -> Any:
        """Repeat what noise disturbed, a few times."""
        for left in reversed(range(TRIES)):
            try:
                return call()
            except LostError:
                raise
            except BusError:
                if not left:
                    raise

    def _check(self, values: Values) -> None:
        now_s = self.clock()
        for name, at_s in self.measured_s.items():
            most_s = self.config.stale_s if name == JOINTS else self.config.stale_camera_s
            if now_s - at_s > most_s:
                self._stop(f"{name}: nothing new for {now_s - at_s:.2f} s")
        positions = quantity(self.joints, values)
        for j in np.flatnonzero(~np.isfinite(positions)):
            self._stop(f"{self.joints[j].name} is measured at {positions[j]}")
        fault = self._watch.look(positions, self._memory().position, now_s)
        if fault and not self.config.dry_run:
            self._stop(fault)

    def _warm_up(self) -> None:
        """Have everything compiled before an arm moves."""
        middle = self.limits.motion[:2].mean(axis=0)
        start = safety.begin(self.limits, middle)
        safety.safe_command(self.limits, start, middle + 1e-3)
        safety.stopping_command(self.limits, start)


def _geometry(robot: Robot, arm: ArmModel | None, safe: SafetyConfig) -> Geometry | None:
    if arm is None:
        if safe.box_m is not None:
            raise UserError(f"box_m: {robot.name} has no model to say where its hand is")
        return None
    if [joint.name for joint in arm.joints] != [joint.name for joint in robot.joints]:
        raise UserError(f"model {arm.name}: its joints are not those of {robot.name}")
    return Geometry(arm, safe.box_m, floor=safe.collisions, pairs=safe.collisions)
