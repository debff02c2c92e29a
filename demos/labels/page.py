"""The page on which people answer: two clips side by side, on the server of the teleoperation page.

One WebSocket a page tells how many questions are answered and which are open, and takes answers;
clips are fetched. An answer is on the disk before the page is told that it counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

from aiohttp import WSMsgType, web

from demos.labels.clips import Clips
from demos.page.config import PageConfig
from demos.page.connections import MOST_CLIENTS, SLOW_S, Flow, drop
from demos.page.serving import Server
from robolearn.errors import UserError
from robolearn.rewards.labels import Answer
from robolearn.rewards.questionnaire import Questionnaire

LONGEST = 128  # characters of an answer
BEAT_S = 0.1  # between two looks for what is new
OPEN = 3  # questions that a page is told of, to fetch the next ones before it shows them
FILES = {
    "": ("demos.labels", "label.html"),
    "label.js": ("demos.labels", "label.js"),
    "label.css": ("demos.labels", "label.css"),
    "common.css": ("demos.page", "common.css"),
}


class LabelPage(Server):
    """Serves the questions of a folder; a context manager."""

    does = "answers"

    def __init__(self, config: PageConfig, asked: Questionnaire, clips: Clips) -> None:
        super().__init__(config, FILES, LONGEST)
        self._asked, self._clips = asked, clips
        self._sockets: set[web.WebSocketResponse] = set()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the channel of answers, and the clips."""
        router.add_get("/{token}/answers", self._answers)
        router.add_get("/{token}/clip/{number:[0-9]{1,9}}", self._clip)

    async def say_goodbye(self) -> None:
        """Tell all pages that nothing more is asked."""
        for socket in list(self._sockets):
            with contextlib.suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(socket.send_str(json.dumps({"over": True})), BEAT_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(socket.close(code=1001, message=b"over"), BEAT_S)

    async def _clip(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        try:
            clip = await self._loop.run_in_executor(None, self._clips.clip, number)
        except UserError as error:
            raise web.HTTPNotFound(text=str(error)) from None
        period = {"Period": f"{clip.period_s:.6f}"}
        body, kind = clip.pack(), "application/octet-stream"
        return web.Response(body=body, content_type=kind, headers=period)

    async def _answers(self, request: web.Request) -> web.StreamResponse:
        if len(self._sockets) >= MOST_CLIENTS:
            raise web.HTTPServiceUnavailable(text="Too many look on.")
        socket = await self.accept(request)
        self._sockets.add(socket)
        telling = asyncio.ensure_future(self._keep_telling(socket, request))
        flow = Flow()
        try:
            async for message in socket:
                why = "too many messages" if flow.is_flood(time.monotonic()) else ""
                if not why and message.type is not WSMsgType.PONG:
                    why = await self._hear(message)
                if why:
                    await socket.close(code=1008, message=why.encode()[:100])
        finally:
            self._sockets.discard(socket)
            telling.cancel()
            await asyncio.wait([telling])
        return socket

    async def _hear(self, message: Any) -> str:
        """Keep an answer; give what is wrong with it, "" if nothing is."""
        if message.type is not WSMsgType.TEXT:
            return "not text"
        try:
            number, answer = parse(message.data)
            await self._loop.run_in_executor(None, self._asked.answer, number, answer)
        except ValueError as error:  # a full disk too
            return str(error)
        return ""

    async def _keep_telling(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        """Tell a page what is new; drop it if it takes nothing."""
        told = None
        try:
            while not socket.closed:
                now = self._now()
                if now != told:
                    told = now
                    await asyncio.wait_for(socket.send_str(json.dumps(now)), SLOW_S)
                await asyncio.sleep(BEAT_S)
        except (ConnectionError, TimeoutError):
            drop(request)

    def _now(self) -> dict[str, Any]:
        about = self._asked.about
        told = {"task": about.get("task", ""), "environment": self._asked.interface.environment}
        try:
            answered, is_open = len(self._asked.answers()), self._asked.open()
        except UserError as error:
            return told | {"problem": str(error)}
        counts = {"answered": answered, "open": len(is_open), "labels": about.get("labels")}
        return told | counts | {"next": is_open[:OPEN]}


def parse(text: str) -> tuple[int, Answer]:
    """Read ``{"question": 3, "answer": "first"}``; ValueError says what is wrong with it."""
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict) or set(found) != {"question", "answer"}:
        raise ValueError("needs exactly question and answer")
    number = found["question"]
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 10**9:
        raise ValueError("question must be a whole number")
    return number, Answer(found["answer"])
