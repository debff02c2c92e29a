"""The page of questions in headless Chromium, and what the server refuses."""

import asyncio
import contextlib
import json
import time
from urllib.parse import urlsplit

import aiohttp
import cv2
import numpy as np
import pytest
from browser import Browser, chromium

from demos.labels.clips import MOST_FRAMES, Clip, chosen
from demos.labels.page import LabelPage, parse
from demos.page.config import PageConfig
from robolearn.errors import UserError
from robolearn.rewards.labels import Answer, Question
from robolearn.rewards.questionnaire import Questionnaire
from robolearn.types import ArraySpec, Spec

needs_chromium = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")
SPEC = Spec("toy/Push", {"state": ArraySpec((1,))}, ArraySpec((1,)), 0.1)
SEGMENT = {
    "observations": {"state": np.zeros((2, 1), np.float32)},
    "actions": np.zeros((2, 1), np.float32),
}
KEYS = {
    "1": Answer.FIRST, "2": Answer.SECOND, "=": Answer.EQUAL, "?": Answer.CANNOT_TELL,
    "ArrowLeft": Answer.FIRST, "ArrowRight": Answer.SECOND, "ArrowUp": Answer.EQUAL,
    "ArrowDown": Answer.CANNOT_TELL,
}  # fmt: skip


class Painted:
    """Clips of which the left one is dark and the right one bright."""

    def clip(self, number):
        if number >= 30:
            raise UserError(f"question {number} cannot be drawn")
        dark, bright = (
            cv2.imencode(".jpg", np.full((12, 16, 3), grey, np.uint8))[1].tobytes()
            for grey in (40, 220)
        )
        return Clip([dark, dark], [bright, bright], 0.1)


@contextlib.contextmanager
def served(tmp_path, questions):
    asked = Questionnaire.begin(tmp_path, SPEC, {"task": "push it", "labels": 40})
    for number in questions:
        asked.put(number, Question(SEGMENT, SEGMENT))
    with LabelPage(PageConfig(port=0), asked, Painted()) as page:
        yield page, asked


def press(browser, key):
    """Press a key that need not be a letter, clumsily: it repeats, and is pressed twice."""
    time.sleep(0.2)  # a new question takes no answer at first
    for kind, repeats in [("keyDown", False), ("keyDown", True), ("keyUp", False)] * 2:
        browser.tell("Input.dispatchKeyEvent", type=kind, key=key, autoRepeat=repeats)


def asking(browser, number):
    shown = "document.body.dataset.question"
    browser.until(f"document.body?.dataset.state === 'asking' && {shown} === '{number}'")


@needs_chromium
def test_twenty_questions_by_key_with_a_restart_in_the_middle(tmp_path):
    keys = (list(KEYS) * 3)[:20]
    with Browser(tmp_path / "browser") as browser:
        browser.size(1366, 768)
        for part in (range(11), range(11, 20)):
            with served(tmp_path / "questions", range(20)) as (page, asked):
                assert asked.open() == list(range(part[0], 20))  # only what is open
                browser.open(page.address)
                for number in part:
                    asking(browser, number)
                    press(browser, keys[number])
                    browser.until(f"document.body.dataset.question !== '{number}'")
                    assert asked.answers()[number] == KEYS[keys[number]]  # at once
                text = " ".join(browser.ask("document.body.innerText").split())
                assert f"{part[-1] + 1} answered, {19 - part[-1]} open" in text
                assert "push it" in text
            browser.until("document.body.dataset.state === 'over'")
    answers = Questionnaire.read(tmp_path / "questions").answers()
    assert answers == {number: KEYS[key] for number, key in enumerate(keys)}


SIDES = """["first", "second"].map((id) => {
  const canvas = document.getElementById(id);
  return [canvas.getBoundingClientRect().x,
    canvas.getContext("2d").getImageData(5, 5, 1, 1).data[0] < 128 ? "dark" : "bright"]; })"""


@needs_chromium
def test_the_first_clip_is_on_the_left_and_the_mouse_answers_once(tmp_path):
    with (
        served(tmp_path / "questions", range(4)) as (page, asked),
        Browser(tmp_path / "browser") as browser,
    ):
        browser.size(1366, 768)
        browser.open(page.address)
        asking(browser, 0)
        (left, first), (right, second) = browser.ask(SIDES)
        assert left < right and (first, second) == ("dark", "bright")
        time.sleep(0.2)
        browser.click("figure[data-answer=second]")
        asking(browser, 1)
        time.sleep(0.2)
        browser.click("button[data-answer='cannot tell']")
        asking(browser, 2)
        time.sleep(0.2)
        browser.ask(
            "['first', 'second'].forEach((value) =>"
            "document.querySelector(`button[data-answer=${value}]`).click())"
        )  # two at once: one question is answered
        asking(browser, 3)
        assert list(asked.answers().values()) == [Answer.SECOND, Answer.CANNOT_TELL, Answer.FIRST]
        assert asked.answer(3, Answer.EQUAL)  # somebody else answers
        browser.until("document.body.dataset.state === 'waiting'")
        asked.put(4, Question(SEGMENT, SEGMENT))  # the training asks again
        asking(browser, 4)
        asked.put(30, Question(SEGMENT, SEGMENT))
        press(browser, "1")
        browser.until("document.body.dataset.state === 'problem'")
        assert "question 30 cannot be drawn" in browser.ask("document.body.innerText")
        assert browser.ask("document.documentElement.scrollHeight <= innerHeight")


def talk(page, said, origin=True):
    """Say something to the server; give why it ended the connection."""
    address = urlsplit(page.address)
    headers = {"Origin": f"http://{address.netloc}"} if origin else {}

    async def within():
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{page.address}answers", headers=headers) as socket,
        ):
            await socket.receive(timeout=10)
            await (socket.send_bytes if isinstance(said, bytes) else socket.send_str)(said)
            while (message := await socket.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
                pass
            return message.extra or message.data

    return asyncio.run(within())


def test_what_is_no_answer_ends_the_connection_and_changes_nothing(tmp_path):
    with served(tmp_path / "questions", range(2)) as (page, asked):
        with pytest.raises(aiohttp.WSServerHandshakeError):  # another page's
            talk(page, "{}", origin=False)
        for said, why in [
            ("nonsense", "Expecting value"),
            ("[]", "needs exactly question and answer"),
            (json.dumps({"question": 0, "answer": "best"}), "best"),
            (json.dumps({"question": True, "answer": "first"}), "whole number"),
            (json.dumps({"question": 9, "answer": "first"}), "there is no question 9"),
            (b"{}", "not text"),
        ]:
            assert why in talk(page, said), said
        assert asked.answers() == {}


@pytest.mark.parametrize("text", ["", "{}", "[" * 100, '{"question": -1, "answer": "first"}'])
def test_what_is_no_answer_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse(text)


def test_a_long_segment_is_drawn_from_its_first_step_to_its_last():
    assert chosen(3).tolist() == [0, 1, 2]
    steps = chosen(500)
    assert len(steps) == MOST_FRAMES and steps[0] == 0 and steps[-1] == 499
    assert np.ptp(np.diff(steps)) <= 1


def test_a_clip_is_packed_as_the_page_reads_it():
    packed = Clip([b"ab", b"c"], [b"", b"def"], 0.1).pack()
    assert packed == b"\0\0\0\2\0\0\0\2ab\0\0\0\1c\0\0\0\0\0\0\0\3def"
