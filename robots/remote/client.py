"""A robot at another machine, as if it were here; the other end is ``robots.remote.server``.

What it is, its joints and features, is asked for when it is made, and nothing is connected by that.
A thread of its own says all the time that this program still runs, for else the robot is stopped.
It is stopped as well, by its guard, where this program runs and commands nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import PositiveFloat

from robolearn.settings import Settings
from robots.base import (
    Camera,
    Clock,
    Features,
    Joint,
    Kind,
    LifeCycle,
    LostError,
    RobotError,
    Values,
    vector,
)
from robots.guard import StopError
from robots.remote import tokens
from robots.remote.messages import ERRORS, feature, pack, unpack

ABOUT_BYTES = 2**20  # what a robot says of itself
BESIDE_BYTES = 2**16  # of an answer, beside its images
NOT_ANSWERING = (aiohttp.ClientError, asyncio.TimeoutError, OSError)


@dataclass(frozen=True)
class RemoteConfig(Settings):
    """Where the robot is."""

    address: str = "http://127.0.0.1:8765"
    """What `robolearn robots serve` says at the other machine; this end of a tunnel to there."""
    token_file: str = "robot.token"
    """File with the token, a copy of the one there."""
    heartbeat_s: PositiveFloat = 0.05
    """How often the other machine is told that this program still runs."""
    timeout_s: PositiveFloat = 1.0
    """How long an answer may take; to connect and to configure, ten times as long."""


class RemoteRobot:
    """A Robot; see the module. One thread drives it."""

    def __init__(
        self, config: RemoteConfig, clock: Clock = time.monotonic, token: str | None = None
    ) -> None:
        """Ask what it is; RobotError if nobody answers there, or with another token."""
        self.config, self.clock = config, clock
        self._headers = {"Authorization": f"Bearer {token or tokens.read(Path(config.token_file))}"}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._beating: asyncio.Task[None] | None = None
        self.life_cycle = LifeCycle.UNCONFIGURED
        self._measured_s: dict[str, float] = {}
        self._stopped_for = ""  # what the last StopError said
        about = self._wait(self._about(), 10 * config.timeout_s)
        self.name: str = about["name"]
        self.joints = tuple(Joint(**j | {"kind": Kind(j["kind"])}) for j in about["joints"])
        self._features: Features = {
            name: feature(name, kind) for name, kind in about["features"].items()
        }

    @property
    def observation_features(self) -> Features:
        """See ``Robot``."""
        return dict(self._features)

    @property
    def action_features(self) -> Features:
        """See ``Robot``."""
        return {f"{joint.name}.pos": float for joint in self.joints}

    @property
    def is_connected(self) -> bool:
        """See ``Robot``."""
        return self.life_cycle in (LifeCycle.INACTIVE, LifeCycle.ACTIVE)

    @property
    def is_calibrated(self) -> bool:
        """Whether it answers: one that is not calibrated there cannot be connected from here."""
        return self.is_connected

    @property
    def measured_s(self) -> Mapping[str, float]:
        """See ``Robot``; on this machine's clock, and rather too old than too new."""
        return self._measured_s

    def connect(self, calibrate: bool = True) -> None:
        """See ``Robot``; it is calibrated where it stands, not from here."""
        if self.life_cycle is not LifeCycle.UNCONFIGURED:
            raise RobotError(f"{self.name}: connect() while it is {self.life_cycle}")
        try:
            self._wait(self._enter(), 10 * self.config.timeout_s)
            self._call("connect", False, slow=True)
        except BaseException:
            self._leave()
            raise

    def calibrate(self) -> None:
        """Refuse: a person must stand beside the arm."""
        raise RobotError(
            f"{self.name}: calibrate it at its own machine: robolearn robots calibrate"
        )

    def configure(self) -> None:
        """See ``Robot``."""
        self._call("configure", slow=True)

    def activate(self) -> None:
        """See ``Robot``."""
        self._call("activate", slow=True)

    def get_observation(self) -> Values:
        """See ``Robot``."""
        return self._call("get_observation")

    def send_action(self, action: Mapping[str, float]) -> dict[str, float]:
        """See ``Robot``."""
        if self.life_cycle is LifeCycle.ACTIVE:
            vector(self.joints, action, f"{self.name}: action")
        return self._call("send_action", {name: float(value) for name, value in action.items()})

    def stop(self) -> None:
        """See ``Robot``."""
        self._call("stop")

    def reset_stop(self) -> None:
        """Open the latch of the guard there, unless it was closed anew since this end was told."""
        self._call("reset_stop", self._stopped_for)

    def deactivate(self) -> None:
        """See ``Robot``."""
        self._call("deactivate")

    def disconnect(self) -> None:
        """See ``Robot``; if the line is broken, the other machine has stopped the robot itself."""
        if self._socket is not None:
            with contextlib.suppress(RobotError):
                self._call("disconnect", slow=True)
        self._leave()

    def _call(self, name: str, *arguments: Any, slow: bool = False) -> Any:
        if self.life_cycle is LifeCycle.ERROR and self._socket is None:
            raise LostError(f"remote: the line to {self.config.address} was closed; connect again")
        if self._socket is None:
            hint = "connect() it first"
            raise RobotError(f"{self.name}: {name}() while it is {self.life_cycle}; {hint}")
        asked_s = self.clock()
        message = {"call": name, "arguments": list(arguments)}
        timeout_s = (10 if slow else 1) * self.config.timeout_s
        try:
            answer = self._wait(self._exchange(message), timeout_s)
        except BaseException:  # a late answer must never pass for that of a later call
            self._hang_up()
            raise
        self.life_cycle = LifeCycle(answer["life_cycle"])
        if "error" in answer:
            if answer["error"] not in ERRORS:
                raise RuntimeError(f"{self.name}, at {self.config.address}: {answer['text']}")
            error = ERRORS[answer["error"]](answer["text"])
            if isinstance(error, StopError):
                self._stopped_for = str(error)
            raise error
        for part, age_s in answer["ages"].items():  # when it was asked for there
            self._measured_s[part] = asked_s - age_s
        return answer["value"]

    def _wait(self, call: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
        """Wait for what goes on in the other thread; LostError if the line fails."""

        async def timely() -> Any:
            return await asyncio.wait_for(call, timeout_s)

        try:
            return asyncio.run_coroutine_threadsafe(timely(), self._loop).result()
        except NOT_ANSWERING as error:
            if self.life_cycle is not LifeCycle.UNCONFIGURED:
                self.life_cycle = LifeCycle.ERROR
            reason = str(error) or f"nothing within {timeout_s:g} s"
            raise LostError(f"remote: {self.config.address} does not answer ({reason})") from None

    async def _exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        await self._socket.send_bytes(pack(message))
        answer = await self._socket.receive()
        if answer.type is not aiohttp.WSMsgType.BINARY:
            raise aiohttp.ClientError("the connection was closed")
        return unpack(answer.data)

    async def _about(self) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession(headers=self._headers) as session,
            session.get(f"{self.config.address}/about") as response,
        ):
            _require_welcome(response.status, self.config)
            if not 0 < (response.content_length or 0) <= ABOUT_BYTES:
                raise RobotError(f"remote: no robot is served at {self.config.address}")
            return unpack(await response.read())

    @property
    def _most_bytes(self) -> int:
        """How long an answer may be: an observation, as declared."""
        images = [shape for shape in self._features.values() if isinstance(shape, tuple)]
        return BESIDE_BYTES + sum(math.prod(shape) for shape in images)

    async def _enter(self) -> None:
        self._session = aiohttp.ClientSession(headers=self._headers)
        try:
            self._socket = await self._session.ws_connect(
                self.config.address, max_msg_size=self._most_bytes
            )
        except aiohttp.WSServerHandshakeError as error:
            _require_welcome(error.status, self.config)
            raise
        self._beating = asyncio.create_task(self._beat(self._socket))

    async def _beat(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Say again and again that this program runs."""
        while not socket.closed:
            with contextlib.suppress(*NOT_ANSWERING):
                await socket.send_bytes(pack({}))
            await asyncio.sleep(self.config.heartbeat_s)

    def _leave(self) -> None:
        """Close the line; calling it again does nothing."""
        self.life_cycle = LifeCycle.UNCONFIGURED
        if self._session is not None:
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()

    def _hang_up(self) -> None:
        """Close the line without a word, so that the other machine stops the robot."""
        self.life_cycle = LifeCycle.ERROR
        asyncio.run_coroutine_threadsafe(self._close(politely=False), self._loop).result()

    async def _close(self, politely: bool = True) -> None:
        if self._beating is not None:
            self._beating.cancel()
        if politely and self._socket is not None:
            await self._socket.close()
        await self._session.close()
        self._session = self._socket = self._beating = None


def remote(
    config: RemoteConfig,
    cameras: Mapping[str, Camera] | None = None,
    clock: Clock | None = None,
) -> RemoteRobot:
    """Make a robot that is at another machine, and so are its cameras."""
    if cameras:
        raise RobotError(f"remote: cameras ({', '.join(cameras)}) belong to the robot's machine")
    return RemoteRobot(config, clock or time.monotonic)


def _require_welcome(status: int, config: RemoteConfig) -> None:
    if status == 401:
        raise RobotError(f"remote: {config.address} wants another token than {config.token_file}'s")
    if status == 409:
        raise RobotError(f"remote: somebody else drives the robot at {config.address}")
    if status != 200:
        raise RobotError(f"remote: no robot is served at {config.address} (status {status})")
