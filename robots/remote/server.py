"""The machine with the robot: one driver at a time, who must be heard all the time.

Whoever connects shows the token; a second one is turned away. When nothing has been heard for
``silence_s``, or the line breaks, the robot is stopped, whatever it was told before. All calls, and
that stop, are made in one thread, one after the other.

What protects the arm from its commands, a guard, belongs here. It acts where no command comes, and
stops the arm as its ``stop_s`` says: that somebody is heard is no command.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Self

import annotated_types
from aiohttp import WSMsgType, web
from pydantic import PositiveFloat

from robolearn.errors import UserError
from robolearn.settings import Settings
from robots.base import LifeCycle, Robot, RobotError
from robots.guard import Guard, StopError
from robots.remote.messages import ERRORS, kind_of, pack, unpack

CALLS = ("connect", "configure", "activate", "get_observation", "send_action", "stop",
         "reset_stop", "deactivate", "disconnect")  # fmt: skip
MOST_BYTES = 2**16  # of what a driver says: an action of some hundred joints
GUARD_HZ = 100.0  # commands that a guard takes which is made here
STARTING_S = 10.0
CLOSING_S = 0.5
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerConfig(Settings):
    """Where a robot is served."""

    host: str = "127.0.0.1"
    """Address to listen at; for other machines, better a tunnel to this one (ssh -L) than another,
    for nothing is encrypted."""
    port: Annotated[int, annotated_types.Ge(0), annotated_types.Le(65535)] = 8765
    """0 for any that is free."""
    token_file: str = "robot.token"
    """File with the token; made if it is not there."""
    silence_s: PositiveFloat = 0.3
    """Without a message for so long, the robot is stopped."""


class Server:
    """Serves a robot from a thread of its own, inside ``with``; ``address`` is where."""

    def __init__(
        self, robot: Robot, config: ServerConfig, token: str, guarded: bool = True
    ) -> None:
        """A robot that is no guard gets one, unless it shall be served as it is.

        Raises RobotError for one that has more than joints and cameras.
        """
        self._features = {key: kind_of(key, of) for key, of in robot.observation_features.items()}
        if guarded and not isinstance(robot, Guard):
            arm, clock = getattr(robot, "arm", None), getattr(robot, "clock", time.monotonic)
            robot = Guard(robot, 1 / GUARD_HZ, arm=arm, clock=clock)
        self.robot, self.config = robot, config
        self.address = ""
        self.calls = 0  # that were answered
        self.stopped_for = ""  # why it was last stopped from here
        self._token = token
        self._driver: web.WebSocketResponse | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="robot")
        self._loop = asyncio.new_event_loop()
        self._started: threading.Event = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="robot server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait(STARTING_S)
        if self._failure is not None or not self.address:
            self._thread.join()
            where = f"{self.config.host}:{self.config.port}"
            raise RobotError(f"remote: cannot listen at {where} ({self._failure})")
        return self

    def __exit__(self, *error: object) -> None:
        if isinstance(self.robot, Guard) and self.robot.is_active:
            self.robot.emergency_stop("it is served no longer")  # before anybody is waited for
        asyncio.run_coroutine_threadsafe(self._turn_away(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._worker.submit(self.robot.disconnect).result()
        self._worker.shutdown()

    def wait(self) -> None:
        """Serve until interrupted."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        application = web.Application()
        application.add_routes([web.get("/about", self._about), web.get("/", self._drive)])
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=CLOSING_S)
        try:
            self._loop.run_until_complete(self._listen(runner))
        except OSError as error:
            self._failure = error
        self._started.set()
        if self._failure is None:
            self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _listen(self, runner: web.AppRunner) -> None:
        await runner.setup()
        await web.TCPSite(runner, self.config.host, self.config.port).start()
        host, port = runner.addresses[0][:2]
        self.address = f"http://{host}:{port}"

    async def _turn_away(self) -> None:
        """Close the line to whoever drives."""
        if self._driver is not None and self._driver.prepared:
            await self._driver.close()

    def _require_token(self, request: web.Request) -> None:
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(shown.encode(), self._token.encode()):
            raise web.HTTPUnauthorized(text="another token")

    async def _about(self, request: web.Request) -> web.Response:
        """Say what the robot is, before anybody drives it."""
        self._require_token(request)
        about = {
            "name": self.robot.name,
            "joints": [vars(joint) | {"kind": str(joint.kind)} for joint in self.robot.joints],
            "features": self._features,
        }
        return web.Response(body=pack(about))

    async def _drive(self, request: web.Request) -> web.WebSocketResponse:
        self._require_token(request)
        if self._driver is not None:
            raise web.HTTPConflict(text="somebody else drives this robot")
        socket = web.WebSocketResponse(max_msg_size=MOST_BYTES, timeout=CLOSING_S)
        self._driver = socket
        try:
            await socket.prepare(request)
            await self._serve(socket)
        finally:
            self._driver = None
            await self._stop("whoever drove it is gone")
        return socket

    async def _serve(self, socket: web.WebSocketResponse) -> None:
        while True:
            try:
                message = await asyncio.wait_for(socket.receive(), self.config.silence_s)
            except TimeoutError:
                await self._stop(f"nothing was heard for {self.config.silence_s:g} s")
                message = await socket.receive()
            if message.type is not WSMsgType.BINARY:
                return
            answer = await self._answer(message.data)
            if answer is None:
                continue
            try:
                await socket.send_bytes(pack(answer))
            except ConnectionError:
                return

    async def _answer(self, data: bytes) -> dict[str, Any] | None:
        """Do what a message asks for; None for a heartbeat."""
        try:
            message = unpack(data)
            call, arguments = message.get("call"), message.get("arguments", [])
            if call is None:
                return None
            if call not in CALLS or not isinstance(arguments, list):
                raise RobotError(f"remote: a robot has no call '{call}' that others may make")
            began_s = self._now_s()
            value = await self._in_turn(lambda: self._do(call, arguments))
            self.calls += 1
            return self._said(value=value, ages=self._ages(began_s))
        except UserError as error:
            kinds = [name for name, kind in ERRORS.items() if isinstance(error, kind)]
            exact = type(error).__name__
            return self._said(
                error=exact if exact in ERRORS else (kinds or ["RobotError"])[0], text=str(error)
            )
        except Exception as error:
            log.exception("the robot's driver failed")
            return self._said(error="Bug", text=f"{type(error).__name__}: {error}")

    def _do(self, call: str, arguments: list[Any]) -> Any:
        """Make a call; whose line broke left the robot connected, and finds it so."""
        if call == "reset_stop":
            return self._reset_stop(*arguments)
        if call == "connect" and self.robot.life_cycle is LifeCycle.INACTIVE:
            return None
        return getattr(self.robot, call)(*arguments)

    def _reset_stop(self, seen: str) -> None:
        """Open the guard's latch for whoever has seen why it is closed."""
        guard = self.robot
        if not isinstance(guard, Guard):
            raise RobotError(f"remote: {guard.name} is served without a guard to reset")
        stops = guard.stops
        if guard.is_stopped and guard.reason not in seen:
            raise StopError(f"{guard.name}: stopped: {guard.reason}; reset_stop() again to go on")
        guard.reset_stop(stops)

    def _said(self, **parts: Any) -> dict[str, Any]:
        return {"life_cycle": str(self.robot.life_cycle), **parts}

    def _now_s(self) -> float | None:
        clock = getattr(self.robot, "clock", None)
        return None if clock is None else clock()

    def _ages(self, began_s: float | None) -> dict[str, float]:
        """Say how long before a call things were measured, 0 if by it: clocks differ."""
        if began_s is None:
            return {}
        return {part: max(0.0, began_s - s) for part, s in self.robot.measured_s.items()}

    async def _in_turn(self, call: Callable[[], Any]) -> Any:
        return await self._loop.run_in_executor(self._worker, call)

    async def _stop(self, reason: str) -> None:
        """Stop the robot if it moves, and say why."""
        if self.robot.life_cycle is not LifeCycle.ACTIVE:
            return
        self.stopped_for = reason
        log.warning("%s: stopped: %s", self.robot.name, reason)
        try:
            await self._in_turn(self.robot.stop)
        except RobotError as error:
            log.error("%s: %s", self.robot.name, error)
