"""What runs in a servo process: the loop that measures and commands, whatever becomes of others."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing import connection, shared_memory
from typing import Any

from robolearn.errors import UserError
from robots.base import LifeCycle, Values, named, quantity
from robots.board import Board, Layout, put
from robots.clocks import RealClock
from robots.guard import Guard

STATES = list(LifeCycle)
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def serve(
    pipe: connection.Connection,
    memory_name: str,
    layout: Layout,
    make: Callable[..., Guard],
    arguments: tuple[Any, ...],
    parent: int,
) -> None:
    """Run the loop until it is told to end, or nobody is at the other end of the pipe.

    What a terminal tells the programs that run in it (Ctrl-C, Ctrl-Z) is not for this one.
    """
    os.setsid()
    memory = shared_memory.SharedMemory(memory_name)
    try:
        guard = make(*arguments)
    except UserError as error:
        _reply(pipe, 0, error)
        return
    loop = Loop(guard, layout, Board(layout, memory.buf), pipe, parent)
    for kind in ENDING:
        signal.signal(kind, loop.end)
    loop.show()
    _reply(pipe, 0)
    fault = None
    try:
        loop.run()
    except Exception as error:
        traceback.print_exc()
        fault = f"{type(error).__name__}: {error}"
    finally:
        with contextlib.suppress(UserError):
            guard.disconnect()
        loop.show(fault or "")
    sys.exit(fault is not None)


class Loop:
    """Measures and commands at a fixed rate, and does what it is told in between."""

    def __init__(
        self,
        guard: Guard,
        layout: Layout,
        board: Board,
        pipe: connection.Connection,
        parent: int,
    ) -> None:
        """``parent`` is the process that decides: others may hold its end of the pipe open."""
        self._guard, self._layout, self._board = guard, layout, board
        self._pipe, self._parent = pipe, parent
        self._clock = RealClock()
        self._ended = False
        self._seen_target = self._heeded = 0
        self._ticks = self._missed = 0
        self._values: Values = {}
        self._looked_s = 0.0
        self._ask = getattr(guard.robot, "success", None)
        self._success = False
        self._said = ""

    def end(self, *signal: Any) -> None:
        """Have it end; a signal's handler."""
        self._ended = True

    def run(self) -> None:
        """Go on until somebody ends it, or nobody is at the other end."""
        next_s = self._clock()
        while not self._ended and os.getppid() == self._parent:
            try:
                self._obey(max(0.0, next_s - self._clock()))
            except (EOFError, ConnectionError):
                return
            now_s = self._clock()
            if now_s < next_s:
                continue
            active = self._guard.life_cycle is LifeCycle.ACTIVE
            late = now_s > next_s + self._guard.period_s
            self._ticks, self._missed = self._ticks + active, self._missed + (active and late)
            next_s = now_s + self._guard.period_s if late else next_s + self._guard.period_s
            self._tick()
            self.show()

    def _obey(self, most_s: float) -> None:
        """Wait for the next tick; carry out an order that comes meanwhile, unless it is late."""
        if not self._pipe.poll(most_s):
            return
        number, until_s, order, *arguments = json.loads(self._pipe.recv_bytes())
        if self._clock() > until_s:
            return
        self._heed()
        target = self._guard if hasattr(self._guard, order) else self._guard.robot
        error, value = None, None
        try:
            value = getattr(target, order)(*arguments)
            if order == "activate":
                self._seen_target = self._board.asked.read(lambda asked: int(asked["count"]))
            self._tick(command=False)
        except UserError as refused:
            error, self._said = refused, str(refused)
        self.show()
        _reply(self._pipe, number, error, value if isinstance(value, bool | float | int) else None)

    def _tick(self, command: bool = True) -> None:
        """Measure, and command; make a stop that was called for before anything else."""
        guard = self._guard
        self._heed()
        if not guard.is_connected:
            return
        try:
            self._values = guard.get_observation()
            self._looked_s = self._clock()
            self._success = self._ask is not None and bool(self._ask())
            if command and guard.is_active:
                self._command()
            self._said = "; ".join(guard.record.words)
        except UserError as error:
            self._said = str(error)

    def _heed(self) -> None:
        """Look whether a stop was called for since the last look."""
        calls = self._board.calls
        if calls != self._heeded:
            self._heeded = calls
            self._guard.emergency_stop(self._board.called_for)

    def _command(self) -> None:
        """Give the newest target, unless it is old; without one, what is under way goes on."""
        asked = self._board.asked.glimpse(
            lambda asked: (int(asked["count"]), float(asked["at_s"]), asked["target"].copy())
        )
        count, at_s, target = asked or (self._seen_target, 0.0, None)
        new, self._seen_target = count != self._seen_target, count
        if new and self._clock() - at_s <= self._guard.config.hold_s:
            self._guard.send_action(named(self._guard.joints, {"pos": target}))
        else:
            self._guard.tick()

    def show(self, last_words: str = "") -> None:
        """Write down how things are."""
        guard = self._guard
        with self._board.seen.writing() as seen:
            seen["at_s"], seen["looked_s"] = self._clock(), self._looked_s
            seen["life_cycle"] = STATES.index(guard.life_cycle)
            seen["stopped"], seen["silent"] = guard.is_stopped, guard.silent
            seen["at_rest"] = not guard.is_active or guard.at_rest
            seen["success"] = self._success
            seen["stops"], seen["heeded"] = guard.stops, self._heeded
            seen["ticks"], seen["missed"] = self._ticks, self._missed
            put(seen["words"], last_words or guard.reason or self._said)
            if self._values:
                for row, what in enumerate(self._layout.measures):
                    seen["measured"][row] = quantity(guard.joints, self._values, what)
                for name in seen["arrays"].dtype.names:
                    seen["arrays"][name][...] = self._values[name]
            if guard.is_active:
                seen["commanded"] = guard.commanded


def _reply(
    pipe: connection.Connection, number: int, error: UserError | None = None, value: Any = None
) -> None:
    kind, said = ("", value) if error is None else (type(error).__name__, str(error))
    with contextlib.suppress(ConnectionError):
        pipe.send_bytes(json.dumps([number, kind, said, getattr(error, "stops", 0)]).encode())
