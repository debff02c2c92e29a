"""A whole session on Lift in headless Chromium, by key presses and clicks."""

import dataclasses
import json
import time

import cv2
import numpy as np
import pytest
from browser import Browser, chromium
from page_session import WAITS, elicit

from demos.data.dataset import Dataset
from demos.data.doctor import doctor
from demos.devices.contracts import Button
from demos.page.connections import MOST_MESSAGES
from demos.page.source import CLOSED, SILENT

from .test_server import Drawn, Place

needs_chromium = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")


DRAWN = """
[...document.querySelectorAll("figure:not([hidden])")].map((figure) => [
  figure.innerText, figure.offsetLeft,
  figure.firstChild.getContext("2d").getImageData(9, 9, 1, 1).data[0] < 128 ? "dark" : "bright"])
"""


class Painted(Drawn):
    """Draws all that is done here dark, and what is compared with it bright."""

    def __init__(self):
        dark, bright = (
            cv2.imencode(".jpg", np.full((20, 20, 3), grey, np.uint8))[1].tobytes()
            for grey in (0, 255)
        )
        super().__init__(beside=bright)
        self._image = dark


class Seen:
    """What the page says, and which pictures it shows, in each phase."""

    def __init__(self):
        self.texts, self.facts, self.pictures = {}, {}, {}

    def __call__(self, name, browser: Browser):
        count = 2 if name == "why" else 1
        browser.until(f"document.querySelectorAll('figure.live:not([hidden])').length === {count}")
        self.texts[name] = browser.ask("document.body.innerText").lower()
        self.facts[name] = json.loads(browser.ask("JSON.stringify({...document.body.dataset})"))
        self.pictures[name] = browser.ask(DRAWN)


@needs_chromium
def test_practice_learn_a_rejection_and_one_that_is_kept(tmp_path):
    seen = Seen()
    outcome = elicit(tmp_path, ("front",), seen, make=Painted)
    assert {name: facts["phase"] for name, facts in seen.facts.items()} == {
        "practice": "practice", "learn": "learn", "teach": "teach", "rejected": "teach",
        "why": "teach", "kept": "teach",
    }  # fmt: skip
    assert all(facts["link"] == "steers" for facts in seen.facts.values())
    assert "lift the cube" in seen.texts["practice"] and "begin" in seen.texts["practice"]
    assert "base demonstration 1 of 1" in seen.texts["learn"]
    assert "recording" in seen.texts["teach"] and "compatibility" in seen.texts["teach"]
    assert "does not fit" in seen.texts["rejected"] and "in steps" in seen.texts["rejected"]
    assert "worst part 1 of" in seen.texts["why"]
    (yours, left, first), (theirs, right, second) = seen.pictures.pop("why")
    assert (yours, first, theirs, second) == ("Yours", "dark", "The base's", "bright")
    assert left < right
    assert all(pictures == [["front", 0, "dark"]] for pictures in seen.pictures.values())
    assert "1 of 5 kept, 1 rejected" in " ".join(seen.texts["kept"].split())

    dataset = Dataset.open(tmp_path / "ann")
    masks = dataset.masks()
    assert len(masks["kept"]) == len(masks["rejected"]) == 1 and masks["practice"]
    assert outcome.kept == 1 and outcome.attempts == len(dataset.names())
    assert outcome.differing == [] and doctor(tmp_path / "ann").healthy
    rejected, kept = (dataset.load(masks[name][0]) for name in ("rejected", "kept"))
    assert rejected.success and kept.success and len(rejected) > WAITS
    assert not rejected.metadata["verdict"]["accepted"] and kept.metadata["verdict"]["accepted"]
    assert kept.metadata["device"]["name"] == "page"
    assert kept.records["engaged"].any()
    assert (kept.actions[~kept.records["engaged"]][:, :6] == 0.0).all()


def until(source, wanted):
    """Poll as a control loop does until a signal is as wanted; give it."""
    until_s = time.monotonic() + 60
    while not wanted(found := source.poll(time.monotonic())):
        assert time.monotonic() < until_s, found
        time.sleep(0.01)
    return found


GAMEPAD = """
const buttons = Array.from({length: 17}, (_, i) => ({pressed: i === 4 || i === 0}));
const pad = {connected: true, mapping: "standard", buttons, axes: [0, -1, 0, 0]};
navigator.getGamepads = () => [pad];
document.hasFocus = () => true;
"""


@needs_chromium
def test_keys_pads_a_gamepad_and_what_stops_them(tmp_path):
    with Place() as place, Browser(tmp_path) as browser:
        source = place.source
        browser.size(390, 844, phone=True)
        browser.open(place.page.address)
        browser.until("document.body?.dataset.link === 'steers'")

        browser.down("w")
        assert until(source, lambda s: s.engaged).move == (1.0, 0.0, 0.0)
        browser.ask("window.dispatchEvent(new Event('blur'))")
        until(source, lambda s: not s.engaged and s.given_s and not s.lost)
        browser.up("w")

        box = browser.ask(
            "(({x, y, width}) => [x, y, width])"
            "(document.getElementById('pad-left').getBoundingClientRect())"
        )
        browser.touch([(box[0] + box[2] / 2, box[1] + 5)])  # its upper end
        assert until(source, lambda s: s.engaged).move[0] == 1.0
        browser.touch([])
        until(source, lambda s: not s.engaged and not s.lost)

        browser.ask(GAMEPAD + "0")
        found = until(source, lambda s: s.buttons)
        assert found.buttons == (Button.GRIP,)
        assert until(source, lambda s: s.engaged).move == (1.0, 0.0, 0.0)

        browser.ask(
            "setTimeout(() => { const until = performance.now() + 2000;"
            "while (performance.now() < until); }), 0"
        )
        assert not until(source, lambda s: s.lost == SILENT).engaged  # a page that hangs
        until(source, lambda s: s.engaged and not s.lost)  # and goes on
        browser.open("about:blank")
        until(source, lambda s: s.lost == CLOSED)
        assert not source.poll(time.monotonic()).engaged


def pressed(source, seconds=0.5):
    """Give the buttons of a while."""
    until_s, found = time.monotonic() + seconds, []
    while time.monotonic() < until_s:
        found += source.poll(time.monotonic()).buttons
        time.sleep(0.01)
    return found


STUCK = """
Object.defineProperty(WebSocket.prototype, "bufferedAmount",
  {configurable: true, get: () => window.stuck ? 1e6 : 0});
window.stuck = true;
"""
OLD = """
const old = new KeyboardEvent("keydown", {key: "Enter", code: "Enter", bubbles: true});
Object.defineProperty(old, "timeStamp", {value: performance.now() - 600});
document.body.dispatchEvent(old);
"""
HELD = """
[new KeyboardEvent("keydown", {key: "w", code: "KeyW", bubbles: true}), new EVENT].map((event) => {
  document.body.dispatchEvent(event);
  return document.querySelector("kbd.held") !== null;
})
"""
OPENED = """
window.opened = [];
window.WebSocket = class extends WebSocket {
  constructor(address) { super(address); opened.push(address.split("/").pop()); }
};
"""
MOVES = """
new Promise((done) => {
  const pad = document.getElementById("pad-left"), {x, y} = pad.getBoundingClientRect();
  const send = WebSocket.prototype.send;
  let said = 0, rounds = 0;
  WebSocket.prototype.send = function (...words) { said += 1; send.apply(this, words); };
  const move = setInterval(() => {
    for (let i = 0; i < 10; i++) {
      pad.dispatchEvent(new PointerEvent("pointermove",
        {pointerId: window.finger, clientX: x + 10 * i, clientY: y + 10}));
    }
    if (++rounds === 100) { clearInterval(move); done(said); }
  }, 10);
})
"""


@needs_chromium
def test_nothing_stays_held_and_nothing_is_done_later(tmp_path):
    with Place() as place, Browser(tmp_path) as browser:
        source = place.source
        place.status = dataclasses.replace(place.status, help=source.help)
        browser.size(390, 844, phone=True)
        browser.open(place.page.address)
        browser.until("document.body?.dataset.link === 'steers'")

        browser.ask(STUCK)
        browser.press("enter")
        browser.ask("window.stuck = false")
        browser.ask(OLD)
        assert pressed(source) == []
        browser.press("enter")
        assert pressed(source) == [Button.START]

        browser.until("document.querySelector('kbd[data-key=w]') !== null")
        for event in ('KeyboardEvent("keydown", {key: "Meta", metaKey: true, bubbles: true})',
                      'Event("contextmenu", {bubbles: true})',
                      'Event("dragstart", {bubbles: true})'):  # fmt: skip
            assert browser.ask(HELD.replace("EVENT", event)) == [True, False], event

        browser.ask(
            "document.getElementById('pad-left').addEventListener('pointerdown', (event) =>"
            "(window.finger = event.pointerId))"
        )
        box = browser.ask(
            "(({x, y, width}) => [x, y, width])"
            "(document.getElementById('pad-left').getBoundingClientRect())"
        )
        browser.touch([(box[0] + box[2] / 2, box[1] + 5)])
        until(source, lambda s: s.engaged)
        assert browser.ask(MOVES) < MOST_MESSAGES / 2
        assert until(source, lambda s: s.engaged).move[1] < 0  # to the right
        browser.ask("window.dispatchEvent(new Event('blur'))")
        browser.ask(MOVES)  # of a finger that was there before
        knob = browser.ask("document.querySelector('#pad-left i').style.transform")
        assert knob == "translate(0%, 0%)" and not source.poll(time.monotonic()).engaged

        assert browser.ask("sessionStorage.name ?? ''") == ""  # a copy of the tab is another
        assert len(browser.ask("dispatchEvent(new Event('pagehide')), sessionStorage.name")) == 24

        browser.ask(OPENED + "0")
        place.page._loop.call_soon_threadsafe(time.sleep, 4.0)  # a server that hangs
        browser.until("document.body.dataset.link === 'lost'", 3.0)
        assert "no connection" in browser.ask("document.body.innerText").lower()
        browser.until("document.body.dataset.link === 'steers'")
        browser.until("opened.includes('pictures')")  # the old one may be dead, too
