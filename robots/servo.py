"""The servo loop in a process of its own: robot and guard there, whoever decides here.

The process measures and commands at a fixed rate, whatever the one that made it does
(``robots.servo_loop``). It is given targets; without a new one it goes on to the last, then comes
to rest, then stops, as its guard says (``GuardConfig.hold_s``, ``stop_s``). When the process that
made it is gone, it stops the arm and ends. Numbers are shared in memory (``robots.board``), and so
are calls for a stop, which it looks for in every period. Orders (connect, activate ...) go through
a pipe, as JSON; one that is late is not carried out any more.

A servo process that is gone, or shows nothing new for ``FROZEN_S``, is a StopError that says to cut
the power: from here the arm cannot be moved, nor stopped. If it goes on later, it finds that a stop
was called for.

``ServoProcess`` has what ``RobotEnv`` asks of a ``Guard``, so that either does.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from multiprocessing import shared_memory
from typing import Any

import numpy as np

from robolearn import errors
from robolearn.errors import UserError
from robots import base
from robots.base import QUANTITIES, BusError, LifeCycle, LostError, Robot, RobotError, Values, named
from robots.board import Board, Layout, text
from robots.guard import Guard, Record, StopError
from robots.servo_loop import STATES, serve
from robots.stopping import CUT

STARTS_S = 120.0
SLOW_S = 30.0  # how long an order may take that is slow: connecting compiles, and waits for cameras
QUICK_S = 5.0  # any other
SLOW = {"connect", "activate", "reset_world", "disconnect"}
FROZEN_S = 1.0  # without anything new: periods are hundredths, and a proven stop takes .4 s
HEEDED_S = 2.0  # how long a call for a stop may take until the arm was told, and seen at rest
ENDS_S = 5.0
GONE = f"the servo process is gone: {CUT}, and make the robot again"
HALF_A_WORD = f"the servo process has left half a word: {CUT}"
ERRORS: dict[str, type[UserError]] = {
    kind.__name__: kind
    for kind in (
        StopError, LostError, BusError, RobotError, errors.DataError, errors.SpecError, UserError,
    )
}  # fmt: skip


class ServoProcess:
    """A guarded robot in another process; see the module. ``Guard`` says what its methods do.

    One thread drives it, any may call ``emergency_stop``.
    """

    def __init__(self, make: Callable[..., Guard], *arguments: Any) -> None:
        """``make(*arguments)`` makes the guard there: a function of a module, and plain values.

        A robot like it is made here too, unconnected, for what is known before connecting.
        """
        like = make(*arguments)
        self.robot: Robot = _Remote(like.robot, self)
        self.limits, self.config, self.period_s = like.limits, like.config, like.period_s
        self.turn = contextlib.nullcontext()  # nobody here can get past the guard there
        self.layout = _layout(like.robot)
        self._memory = shared_memory.SharedMemory(create=True, size=self.layout.size)
        self._closed = False
        self.board = Board(self.layout, self._memory.buf)
        self._calling = threading.RLock()  # of threads, and of signals' handlers
        self._orders = self._told = 0
        self._ordering = False
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=serve,
            args=(theirs, self._memory.name, self.layout, make, arguments, os.getpid()),
            daemon=True, name="servo",
        )  # fmt: skip
        try:
            self._process.start()
            theirs.close()
            self._answer(0, time.monotonic() + STARTS_S)
        except BaseException:
            self._close()
            raise

    # what is seen

    @property
    def life_cycle(self) -> LifeCycle:
        """Of the robot there; in ERROR, as far as it can be known, if it cannot be reached."""
        if self._closed:
            return LifeCycle.UNCONFIGURED
        if self._fault():
            return LifeCycle.ERROR
        return STATES[self._read(lambda seen: int(seen["life_cycle"]))]

    @property
    def is_stopped(self) -> bool:
        """Whether the guard there has stopped the arm, or will at once, or cannot be reached."""
        return bool(self._fault()) or self._latched() is not None

    @property
    def reason(self) -> str:
        """Why it is stopped; "" while it is not."""
        return self._fault() or (self._latched() or ("", 0))[0]

    @property
    def silent(self) -> bool:
        """Whether it is stopped because no command came, and for nothing else."""
        if self._fault() or self._unheeded():
            return False
        return self._read(lambda seen: bool(seen["silent"]))

    @property
    def stops(self) -> int:
        """How often a stop was called for there."""
        return self._read(lambda seen: int(seen["stops"]))

    @property
    def at_rest(self) -> bool:
        """Whether the commands have come to rest."""
        return self._read(lambda seen: bool(seen["at_rest"]))

    @property
    def commanded(self) -> np.ndarray:
        """The last command [J]."""
        return self._read(lambda seen: seen["commanded"].copy())

    @property
    def record(self) -> Record:
        """What became of the last command."""
        at_s, sent, said = self._read(
            lambda seen: (float(seen["at_s"]), seen["commanded"].copy(), text(seen["words"]))
        )
        return Record(at_s, None, sent, (said,) if said else ())

    @property
    def success(self) -> bool:
        """Whether a twin's task was done when it was measured."""
        return self._read(lambda seen: bool(seen["success"]))

    @property
    def ticks(self) -> tuple[int, int]:
        """How many servo periods there were, and how many began a whole period late."""
        return self._read(lambda seen: (int(seen["ticks"]), int(seen["missed"])))

    def get_observation(self) -> Values:
        """Give the newest that was measured; StopError once the arm is stopped."""
        self.require_open()
        name, joints = self.robot.name, self.robot.joints

        def take(seen: np.ndarray) -> tuple[float, np.ndarray, Values, str]:
            arrays = seen["arrays"]
            images = {key: arrays[key].copy() for key in arrays.dtype.names}
            unseen_s = float(seen["at_s"] - seen["looked_s"])  # by its own last word
            return unseen_s, seen["measured"].copy(), images, text(seen["words"])

        unseen_s, measured, images, said = self._read(take)
        if self.life_cycle is LifeCycle.UNCONFIGURED:
            raise RobotError(f"{name}: get_observation() while it is unconfigured")
        if unseen_s > FROZEN_S:
            raise BusError(f"{name}: nothing was measured for {FROZEN_S:g} s: {said}")
        return named(joints, dict(zip(self.layout.measures, measured, strict=True))) | images

    # what is asked for

    def send_action(self, action: Mapping[str, float]) -> dict[str, float]:
        """Make it the target there; give the last command that was sent."""
        self.require_open()
        try:
            target = base.vector(self.robot.joints, action, f"{self.robot.name}: action")
        except UserError as error:
            self.rest(f"refused: {error}")
            raise
        with self.board.asked.writing() as asked:
            asked["target"], asked["at_s"] = target, time.monotonic()
            asked["count"] += 1
        return named(self.robot.joints, {"pos": self.commanded})

    def connect(self, calibrate: bool = True) -> None:
        """Connect there."""
        self.order("connect", calibrate)

    def activate(self) -> None:
        """Activate there, and begin to command."""
        self.order("activate")

    def stop(self) -> None:
        """Stop there, and prove it."""
        self.order("stop")

    def rest(self, words: str) -> None:
        """Have it come to rest there."""
        self.order("rest", words)

    def pause(self, words: str = "paused") -> None:
        """Have it rest there, and stay active."""
        self.order("pause", words)

    def reset_stop(self, stops: int | None = None) -> None:
        """Open the latch there."""
        self.order("reset_stop", self._told if stops is None else stops)

    def emergency_stop(self, reason: str = "emergency stop") -> None:
        """Have the arm stopped there, whatever else is under way; from any thread.

        Returns when it has been told to stop and was looked at. StopError if the servo process does
        not take notice within ``HEEDED_S``. Once it is disconnected there is nothing to stop.
        """
        if self._closed and self._process.exitcode == 0:
            return
        self._call(reason)
        ends_s = time.monotonic() + HEEDED_S
        while self._unheeded():
            if not self._process.is_alive():
                raise self._error(GONE)
            if time.monotonic() > ends_s:
                raise self._error(f"the servo process takes no notice of a stop: {CUT}")
            time.sleep(1e-3)

    def require_open(self) -> None:
        """Raise StopError while it is stopped, or cannot be reached."""
        self._require_reached()
        latched = self._latched()
        if latched is not None:
            reason, stops = latched
            raise self._error(f"stopped: {reason}; reset_stop() when that is put right", stops)

    def disconnect(self) -> None:
        """Disconnect there, and end the process; calling it again does nothing.

        One that does not end is killed. If it was killed before it stopped the arm, there is a
        warning.
        """
        if self._closed:
            return
        stopped = self.life_cycle is LifeCycle.UNCONFIGURED
        if not stopped and not self._fault():
            with contextlib.suppress(RobotError):
                self.order("disconnect")
                stopped = True
        self._close()
        if not stopped and (self._process.exitcode or 0) < 0:
            words = "the servo process was killed before it had stopped the arm"
            warnings.warn(f"{self.robot.name}: {words}: {CUT}", stacklevel=2)

    # orders

    def order(self, order: str, *arguments: Any) -> Any:
        """Have the guard there, or its robot, do something; give what comes of it.

        Raises what it raises there, and StopError if no answer comes in time; what was asked for
        will not be done then, and a stop is called for.
        """
        self._require_reached()
        self._orders += 1
        until_s = time.monotonic() + (SLOW_S if order in SLOW else QUICK_S)
        self._ordering = True
        try:
            with self._noticing_the_end():
                message = [self._orders, until_s, order, *arguments]
                self._pipe.send_bytes(json.dumps(message).encode())
            return self._answer(self._orders, until_s)
        finally:
            self._ordering = False

    def _answer(self, number: int, until_s: float) -> Any:
        """Wait for the answer to an order; those to earlier ones come too late."""
        of, kind, value, stops = -1, "", None, 0
        while of != number:
            with self._noticing_the_end():
                if not self._pipe.poll(max(0.0, until_s - time.monotonic())):
                    self._call("an order was not carried out in time")
                    raise self._error(f"the servo process does not answer: {CUT}")
                of, kind, value, stops = json.loads(self._pipe.recv_bytes())
        if kind == StopError.__name__:
            raise self._error(value, stops, whole=True)
        if kind:
            raise ERRORS.get(kind, RobotError)(value)
        return value

    @contextlib.contextmanager
    def _noticing_the_end(self) -> Any:
        try:
            yield
        except (EOFError, ConnectionError):
            self._process.join(ENDS_S)  # it says why when it ends
            raise self._error(self._fault() or GONE) from None

    # faults

    def _fault(self) -> str:
        """Say why the arm cannot be reached from here; "" if it can."""
        if not self._process.is_alive():
            last = self.board.seen.glimpse(lambda seen: text(seen["words"])) or ""
            return f"{GONE} ({last})" if last and self._process.exitcode == 1 else GONE
        try:
            at_s = self.board.seen.read(lambda seen: float(seen["at_s"]))
        except TimeoutError:
            return HALF_A_WORD
        silent_s = time.monotonic() - at_s
        if silent_s > FROZEN_S and not self._ordering:
            return f"the servo process has done nothing for {silent_s:.1f} s: {CUT}"
        return ""

    def _require_reached(self) -> None:
        fault = self._fault()
        if fault:
            if not self._unheeded():
                self._call(fault)
            raise self._error(fault)

    def _read(self, take: Callable[[np.ndarray], Any]) -> Any:
        try:
            return self.board.seen.read(take)
        except TimeoutError:
            raise self._error(self._fault() or HALF_A_WORD) from None

    def _latched(self) -> tuple[str, int] | None:
        """Give why it is stopped there, and how many stops that says; None if it is not."""
        stopped, reason, stops = self._read(
            lambda seen: (bool(seen["stopped"]), text(seen["words"]), int(seen["stops"]))
        )
        if self._unheeded():
            return self.board.called_for, stops + 1
        return (reason, stops) if stopped else None

    def _unheeded(self) -> bool:
        """Whether a stop was called for that has not been made yet."""
        return self.board.calls != self._read(lambda seen: int(seen["heeded"]))

    def _call(self, reason: str) -> None:
        with self._calling:
            self.board.call(reason)

    def _error(self, words: str, stops: int | None = None, whole: bool = False) -> StopError:
        """Give a StopError of this robot; by it somebody knows of so many stops."""
        error = StopError(words if whole else f"{self.robot.name}: {words}")
        if stops is not None:
            error.stops = self._told = stops
        return error

    def _close(self) -> None:
        """End the process, and keep what was seen last."""
        self._pipe.close()
        if self._process.pid is not None:
            self._process.join(ENDS_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._closed = True
        self.board = Board(self.layout, bytearray(self._memory.buf))
        with self.board.seen.writing():  # one that was killed in the middle writes no more
            pass
        self._memory.unlink()
        with contextlib.suppress(BufferError):  # another thread reads
            self._memory.close()


class _Remote:
    """What is known of the robot there, and what a twin there can do."""

    def __init__(self, like: Robot, process: ServoProcess) -> None:
        self._process = process
        self.name, self.joints = like.name, like.joints
        self.observation_features = like.observation_features
        self.action_features = like.action_features
        if hasattr(like, "arm"):
            self.arm = like.arm
        if hasattr(like, "world"):
            self.world = like.world
            self.reset_world = lambda seed: process.order("reset_world", seed)
            self.success = lambda: process.success

    @property
    def life_cycle(self) -> LifeCycle:
        """Of the robot there."""
        return self._process.life_cycle

    @property
    def is_connected(self) -> bool:
        """Whether the robot there is."""
        return self.life_cycle in (LifeCycle.INACTIVE, LifeCycle.ACTIVE)


def _layout(robot: Robot) -> Layout:
    arrays = []
    for name, feature in robot.observation_features.items():
        if isinstance(feature, tuple):
            arrays.append((name, feature, "uint8"))
        elif feature is np.ndarray:
            arrays.append((name, (len(robot.world.names()[name][0]),), "float32"))
    first = robot.joints[0].name
    measures = [what for what in QUANTITIES if f"{first}.{what}" in robot.observation_features]
    return Layout(len(robot.joints), tuple(measures), tuple(arrays))
