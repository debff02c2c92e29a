"""The servo loop in a process of its own: robot and guard there, whoever decides here.

The process measures and commands at a fixed rate, whatever the one that made it does. It is given
targets; without a new one it goes on to the last, then comes to rest, then stops, as its guard says
(``GuardConfig.hold_s``, ``stop_s``). When the process that made it is gone, it stops the arm and
ends. Numbers are shared in memory, in whole pictures: a reader never sees half of one. Orders
(connect, activate ...) go through a pipe, as JSON.

``ServoProcess`` has what ``RobotEnv`` asks of a ``Guard``, so that either does.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import connection, shared_memory
from typing import Any

import numpy as np

from robolearn import errors
from robolearn.errors import UserError
from robots import base
from robots.base import (
    QUANTITIES,
    BusError,
    LifeCycle,
    LostError,
    Robot,
    RobotError,
    Values,
    named,
    quantity,
)
from robots.clocks import RealClock
from robots.guard import Guard, Record, StopError

ORDER_S = 30.0  # how long an order may take: connecting compiles, and waits for cameras
STARTS_S = 120.0
WORDS = 400  # bytes of what is said of the last command
HEAD = 7  # numbers beside vectors: picture, life-cycle, stopped, at rest, time, ticks, missed
ERRORS: dict[str, type[UserError]] = {
    kind.__name__: kind
    for kind in (
        StopError, LostError, BusError, RobotError, errors.DataError, errors.SpecError, UserError,
    )
}  # fmt: skip
STATES = list(LifeCycle)


@dataclass(frozen=True)
class Layout:
    """What is shared: the loop's numbers, what is measured of J joints, commands and targets."""

    joints: int
    measures: tuple[str, ...]  # quantities, Q: pos, vel ...
    arrays: tuple[tuple[str, tuple[int, ...], str], ...]  # of the observation, but joints

    @property
    def numbers(self) -> int:
        """Of float64: head, measured [Q, J], commanded [J], how many targets, the last [J]."""
        return HEAD + (len(self.measures) + 1) * self.joints + 1 + self.joints

    @property
    def size(self) -> int:
        """Bytes."""
        extra = sum(int(np.prod(shape)) * np.dtype(kind).itemsize for _, shape, kind in self.arrays)
        return 8 * self.numbers + WORDS + extra


class Board:
    """The shared memory, as arrays."""

    def __init__(self, layout: Layout, memory: shared_memory.SharedMemory) -> None:
        self.layout, self.memory = layout, memory
        numbers = np.ndarray(layout.numbers, np.float64, memory.buf)
        self.head = numbers[:HEAD]
        rows = numbers[HEAD : -layout.joints - 1].reshape(-1, layout.joints)
        self.measured, self.commanded = rows[:-1], rows[-1]
        self.target = numbers[-layout.joints - 1 :]  # [1 + J]: how many there were, and the last
        self.words = np.ndarray(WORDS, np.uint8, memory.buf, 8 * layout.numbers)
        self.arrays, offset = {}, 8 * layout.numbers + WORDS
        for name, shape, kind in layout.arrays:
            self.arrays[name] = np.ndarray(shape, kind, memory.buf, offset)
            offset += self.arrays[name].nbytes

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Write a picture: its number is odd meanwhile."""
        self.head[0] += 1
        yield
        self.head[0] += 1

    def read(self, take: Callable[[], Any]) -> Any:
        """Read what belongs to one picture."""
        while True:
            before = self.head[0]
            taken = take()
            if before == self.head[0] and before % 2 == 0:
                return taken
            time.sleep(1e-4)


class ServoProcess:
    """A guarded robot in another process; see the module."""

    def __init__(self, make: Callable[..., Guard], *arguments: Any) -> None:
        """``make(*arguments)`` makes the guard there: a function of a module, and plain values.

        A robot like it is made here too, unconnected, for what is known before connecting.
        """
        like = make(*arguments)
        self.robot: Robot = _Remote(like.robot, self)
        self.limits, self.config, self.period_s = like.limits, like.config, like.period_s
        self.layout = _layout(like.robot)
        self._memory = shared_memory.SharedMemory(create=True, size=self.layout.size)
        self.board = Board(self.layout, self._memory)
        self.board.head[:] = 0
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, self._memory.name, self.layout, make, arguments),
            daemon=True, name="servo",
        )  # fmt: skip
        self._process.start()
        theirs.close()
        self._answer(STARTS_S)

    @property
    def is_stopped(self) -> bool:
        """Whether the guard there has stopped the arm, or is gone."""
        return bool(self.board.head[2]) or not self._process.is_alive()

    @property
    def reason(self) -> str:
        """Why it is stopped."""
        return self._said() if self._process.is_alive() else "the servo process is gone"

    @property
    def at_rest(self) -> bool:
        """Whether the commands have come to rest."""
        return bool(self.board.head[3])

    @property
    def commanded(self) -> np.ndarray:
        """The last command [J]."""
        return self.board.read(lambda: self.board.commanded.copy())

    @property
    def record(self) -> Record:
        """What became of the last command."""
        said = self._said()
        return Record(float(self.board.head[4]), None, self.commanded, (said,) if said else ())

    @property
    def ticks(self) -> tuple[int, int]:
        """How many servo periods there were, and how many began a whole period late."""
        return int(self.board.head[5]), int(self.board.head[6])

    def connect(self, calibrate: bool = True) -> None:
        """Connect there."""
        self.order("connect", calibrate)

    def activate(self) -> None:
        """Activate there, and begin to command."""
        self.order("activate")

    def stop(self) -> None:
        """Stop there, and prove it."""
        self.order("stop")

    def reset_stop(self) -> None:
        """Open the latch there."""
        self.order("reset_stop")

    def emergency_stop(self, reason: str = "emergency stop") -> None:
        """Stop there for good."""
        self.order("emergency_stop", reason)

    def rest(self, words: str) -> None:
        """Have it come to rest there."""
        self.order("rest", words)

    def disconnect(self) -> None:
        """Disconnect there, and end the process; calling it again does nothing."""
        if self._process.is_alive():
            with contextlib.suppress(RobotError):
                self.order("disconnect")
            self._pipe.close()
            self._process.join(5.0)
        if self.board is not None:
            self.board = None
            self._memory.unlink()
            self._memory.close()

    def get_observation(self) -> Values:
        """Give the newest that was measured; StopError once the arm is stopped."""
        self._require_alive()
        if self.is_stopped:
            raise StopError(f"{self.robot.name}: stopped: {self.reason}")
        board, joints = self.board, self.robot.joints

        def take() -> Values:
            values = named(joints, dict(zip(self.layout.measures, board.measured, strict=True)))
            return values | {name: array.copy() for name, array in board.arrays.items()}

        return board.read(take)

    def send_action(self, action: Mapping[str, float]) -> dict[str, float]:
        """Make it the target there; give the last command that was sent."""
        self._require_alive()
        target = base.vector(self.robot.joints, action, f"{self.robot.name}: action")
        self.board.target[1:] = target
        self.board.target[0] += 1  # last: who reads it has all of the target
        return named(self.robot.joints, {"pos": self.commanded})

    def _said(self) -> str:
        raw = self.board.read(lambda: self.board.words.tobytes())
        return raw.rstrip(b"\0").decode(errors="replace")

    def _require_alive(self) -> None:
        if not self._process.is_alive():
            raise StopError(f"{self.robot.name}: the servo process is gone; make the robot again")

    def order(self, order: str, *arguments: Any) -> Any:
        """Have the guard there, or its robot, do something; give what comes of it."""
        self._require_alive()
        self._pipe.send_bytes(json.dumps([order, *arguments]).encode())
        return self._answer(ORDER_S)

    def _answer(self, most_s: float) -> Any:
        try:
            if not self._pipe.poll(most_s):
                raise StopError(f"{self.robot.name}: the servo process does not answer")
            kind, value = json.loads(self._pipe.recv_bytes())
        except (EOFError, ConnectionError):
            raise StopError(f"{self.robot.name}: the servo process is gone") from None
        if kind:
            raise ERRORS.get(kind, RobotError)(value)
        return value


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
            self.success = lambda: process.order("success")

    @property
    def life_cycle(self) -> LifeCycle:
        """Of the robot there."""
        return STATES[int(self._process.board.head[1])]

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


def _serve(
    pipe: connection.Connection,
    memory_name: str,
    layout: Layout,
    make: Callable[..., Guard],
    arguments: tuple[Any, ...],
) -> None:
    """Run the loop in the process of its own, until the other end of the pipe is gone."""
    memory = shared_memory.SharedMemory(memory_name)
    board = Board(layout, memory)
    try:
        guard = make(*arguments)
    except UserError as error:
        _reply(pipe, error)
        return
    _reply(pipe, None)
    loop = _Loop(guard, board, pipe)
    try:
        loop.run()
    finally:
        with contextlib.suppress(UserError):
            guard.disconnect()
        del loop, board
        memory.close()


class _Loop:
    """Measures and commands at a fixed rate, and does what it is told in between."""

    def __init__(self, guard: Guard, board: Board, pipe: connection.Connection) -> None:
        self._guard, self._board, self._pipe = guard, board, pipe
        self._clock = RealClock()
        self._seen_target = 0.0
        self._values: Values = {}
        self._said = ""

    def run(self) -> None:
        """Go on until nobody is at the other end."""
        next_s, ticks, missed = self._clock(), 0, 0
        while True:
            try:
                self._obey(max(0.0, next_s - self._clock()))
            except (EOFError, ConnectionError):
                return
            now_s = self._clock()
            if now_s < next_s:
                continue
            active = self._guard.life_cycle is LifeCycle.ACTIVE
            late = now_s > next_s + self._guard.period_s
            ticks, missed = ticks + active, missed + (active and late)
            next_s = now_s + self._guard.period_s if late else next_s + self._guard.period_s
            self._tick()
            self._show(ticks, missed)

    def _obey(self, most_s: float) -> None:
        """Wait for the next tick; do what comes meanwhile."""
        if not self._pipe.poll(most_s):
            return
        order, *arguments = json.loads(self._pipe.recv_bytes())
        target = self._guard if hasattr(self._guard, order) else self._guard.robot
        try:
            value = getattr(target, order)(*arguments)
            if order == "activate":
                self._seen_target = self._board.target[0]
            self._tick(command=False)
        except UserError as error:
            self._said = str(error)
            self._show()
            _reply(self._pipe, error)
        else:
            self._show()
            _reply(self._pipe, None, value if isinstance(value, bool | float | int) else None)

    def _tick(self, command: bool = True) -> None:
        guard = self._guard
        if not guard.is_connected:
            return
        try:
            self._values = guard.get_observation()
            if command and guard.is_active:
                self._command()
            self._said = "; ".join(guard.record.words)
        except UserError as error:
            self._said = str(error)

    def _command(self) -> None:
        count = self._board.target[0]
        if count == self._seen_target:
            self._guard.tick()
            return
        self._seen_target = count
        target = self._board.target[1:].copy()
        self._guard.send_action(named(self._guard.joints, {"pos": target}))

    def _show(self, ticks: int | None = None, missed: int | None = None) -> None:
        guard, board = self._guard, self._board
        with board.writing():
            board.head[1] = STATES.index(guard.life_cycle)
            board.head[2] = guard.is_stopped
            board.head[3] = not guard.is_active or guard.at_rest
            board.head[4] = self._clock()
            if ticks is not None:
                board.head[5:7] = ticks, missed
            words = (guard.reason or self._said).encode()[:WORDS]
            board.words[:] = np.frombuffer(words.ljust(WORDS, b"\0"), np.uint8)
            if self._values:
                for row, what in zip(board.measured, board.layout.measures, strict=True):
                    row[:] = quantity(guard.joints, self._values, what)
                for name, array in board.arrays.items():
                    array[...] = self._values[name]
            if guard.is_active:
                board.commanded[:] = guard.commanded


def _reply(pipe: connection.Connection, error: UserError | None, value: Any = None) -> None:
    answer = ["", value] if error is None else [type(error).__name__, str(error)]
    with contextlib.suppress(ConnectionError):
        pipe.send_bytes(json.dumps(answer).encode())
