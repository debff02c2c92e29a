"""The verb: by key presses in a pseudo-terminal, and what goes wrong in one line."""

import asyncio
import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import numpy as np
import pytest
from rerun.chunk import RrdReader

from demos.data.dataset import Dataset
from demos.data.doctor import doctor
from demos.devices.make import DeviceConfig
from demos.devices.others import Scripted
from demos.page.config import PageConfig
from demos.teleop import run as verb
from demos.teleop.config import TeleopConfig
from demos.teleop.run import _camera_axes, _require_cameras
from robolearn.__main__ import main
from robolearn.errors import UserError
from robolearn.running.config import EnvConfig

BEAD = (
    "teleop_lift", "env={name: my_lab.envs:make_bead}", "dataset=beads", "task=push it home",
    "settle_steps=1", "device.speed=1.0",
)  # fmt: skip


PATIENCE_S = 60.0
MOVING = r"demonstrate    demonstration \d, (0\.[1-9]|[1-9])"  # it has taken a step


class Terminal:
    """A terminal of our own in which the program runs; reads the screen and presses keys."""

    def __init__(self, *arguments):
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            command = [sys.executable, "-m", "robolearn", *arguments]
            os.execve(sys.executable, command, os.environ | {"COLUMNS": "110"})
        self.text = ""

    def until(self, pattern: str) -> str:
        """Read until something is on the screen that was not there before."""
        until_s = time.monotonic() + PATIENCE_S
        while not (found := re.search(pattern, self.text)):
            if time.monotonic() > until_s:
                raise AssertionError(f"no {pattern} in {self.text[-5000:]}")
            self._read(1.0)
        self.text = self.text[found.end() :]
        return found[0]

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._fd, keys.encode())

    def hold(self, key: str, pattern: str) -> str:
        """Press a key again and again, as one that repeats, until something is on the screen."""
        until_s = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.text) and time.monotonic() < until_s:
            self.press(key)
            self._read(0.03)
        return self.until(pattern)

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed, as it does outside of the program."""
        return bool(termios.tcgetattr(self._fd)[3] & termios.ECHO)

    def ended(self) -> int:
        """Read to the end and give the exit status."""
        with contextlib.suppress(OSError):  # the other side is closed: so a terminal ends
            self.until("nothing says this")
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self, patience_s: float) -> None:
        if select.select([self._fd], [], [], patience_s)[0]:
            data = os.read(self._fd, 65536)
            if b"\x1b[c" in data:
                os.write(self._fd, b"\x1b[?62c")  # what a terminal is
            self.text += data.decode(errors="replace")


def test_a_demonstration_is_recorded_by_key_presses(lab):
    terminal = Terminal(*BEAD, "goal=2")
    terminal.until("ready: begin")
    terminal.press("\r")
    terminal.until("it begins when you move")
    terminal.hold("s", "kept: go on, or decide otherwise")  # back, to 0
    terminal.press("\r")
    terminal.until("kept 1 of 2")
    terminal.press("\r")
    terminal.hold("w", MOVING)
    terminal.press("n")
    terminal.until("ready: begin")
    terminal.press("x")
    assert terminal.ended() == 0
    dataset = Dataset.open("beads")
    assert dataset.masks()["kept"] == ["demo_0"] and doctor("beads").healthy
    episode = dataset.load("demo_0")
    assert episode.success and episode.metadata["task"] == "push it home"
    assert episode.metadata["device"]["name"] == "terminal keyboard"
    assert episode.metadata["replay"]["same"]
    assert episode.records["engaged"].any()
    assert episode.records["engaged"][0]
    assert (episode.actions[episode.records["engaged"]] == -1.0).all()
    assert (episode.actions[~episode.records["engaged"]] == 0.0).all()
    (summary,) = Path("runs").glob("teleop_lift/*/summary.json")
    assert json.loads(summary.read_text())["kept"] == 1


def test_a_demonstration_is_recorded_from_a_page(lab):
    """A plain client in place of a browser: begin, push back, keep."""
    command = [sys.executable, "-m", "robolearn", *BEAD, "device.kind=page", "goal=1"]
    program = subprocess.Popen(
        [*command, "page={port: 0}"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    line = program.stderr.readline()
    while line and not line.startswith("page: "):
        line = program.stderr.readline()
    address = line.split()[1]

    async def demonstrate():
        headers, number = {"Origin": address.rsplit("/", 2)[0]}, 0
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(address + "control", headers=headers) as page:
                state = ""
                async for message in page:
                    word = json.loads(message.data)
                    if "hello" in word:
                        continue
                    state = word["status"].get("state", state)
                    if word.get("over"):
                        return
                    for _ in range(4):  # quicker than the page is told
                        number += 1
                        press = {"waiting": ["start"], "paused": ["start"], "deciding": ["keep"]}
                        said = {
                            "n": number, "t": 1000 * time.monotonic(), "beat": word["beat"],
                            "move": [-1, 0, 0] if state == "running" else [0, 0, 0],
                            "turn": [0, 0, 0], "engaged": state == "running",
                            "buttons": press.get(state, []),
                        }  # fmt: skip
                        await page.send_str(json.dumps(said))
                        await asyncio.sleep(0.02)

    with contextlib.suppress(ConnectionError):  # the session ends while it speaks
        asyncio.run(asyncio.wait_for(demonstrate(), PATIENCE_S))
    program.stderr.read()
    assert program.wait() == 0
    episode = Dataset.open("beads").load("demo_0")
    assert Dataset.open("beads").masks()["kept"] == ["demo_0"] and episode.success
    assert episode.metadata["device"]["name"] == "page" and episode.metadata["replay"]["same"]
    assert (episode.actions[~episode.records["engaged"]] == 0.0).all()


def test_ctrl_c_keeps_what_was_finished_and_gives_the_terminal_back(lab):
    terminal = Terminal(*BEAD)
    terminal.until("ready: begin")
    terminal.press("\r")
    terminal.hold("w", MOVING)
    terminal.press("y")
    terminal.until("kept 1 of")
    terminal.press("\r")
    terminal.until("it begins when you move")
    terminal.press("\x03")
    assert terminal.ended() == 130
    assert "interrupted; what was finished is kept" in terminal.text
    assert Dataset.open("beads").names() == ["demo_0"]


def test_a_program_that_is_terminated_gives_the_terminal_back(lab):
    terminal = Terminal(*BEAD)
    terminal.until("ready: begin")
    assert not terminal.echoes
    os.kill(terminal.pid, signal.SIGTERM)
    terminal.until("interrupted; what was finished is kept")
    assert terminal.echoes
    assert terminal.ended() == 130


@pytest.mark.parametrize("kinds", [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGINT,) * 2])
def test_told_to_end_a_robot_is_stopped_and_what_is_in_progress_saved(
    tmp_path, monkeypatch, capsys, kinds
):
    class Hand:
        """Steers for three steps, and then tells the program to end."""

        steps = 0

        def reset(self, n):
            pass

        def act(self, observation, explore=False):
            self.steps += 1
            for kind in kinds if self.steps == 4 else ():
                os.kill(os.getpid(), kind)
            return np.zeros((1, 6))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verb, "_require_inputs", lambda config: None)
    monkeypatch.setattr(verb, "_device", lambda *_: Scripted(Hand))
    options = "env.options={simulated_time: true, robot: {failing: 0.0}}"
    code = main(["teleop_twin", options, "out=out", "horizon=50"])
    if len(kinds) == 2:
        assert code == 130 and "interrupted" in capsys.readouterr().err
        return
    said = "told to end by " + ("Ctrl-C" if kinds[0] == signal.SIGINT else "SIGTERM")
    assert code == 0 and f'stopped: "{said}"' in capsys.readouterr().err
    summary = json.loads(Path("out/summary.json").read_text())
    assert summary["stopped"] == said and summary["decisions"] == {"failed": 1}
    episode = Dataset.open("datasets/twin").load("demo_0")
    assert len(episode) == 4 and episode.metadata["ended"] == "stopped"
    assert said in episode.metadata["stopped"]


def test_a_camera_says_where_forward_is():
    names = ("side", "top")
    axes = np.arange(9.0).reshape(3, 3)
    model = SimpleNamespace(ncam=2, camera=lambda i: SimpleNamespace(name=names[i]))
    data = SimpleNamespace(camera=lambda name: SimpleNamespace(xmat=axes.reshape(9)))
    interface = SimpleNamespace(environment="test/Arm")
    env = SimpleNamespace(model=model, data=data, interface=interface, reset=lambda seed: None)

    def found(env=env, **device):
        config = TeleopConfig(env=EnvConfig("test/Arm"), device=DeviceConfig(**device))
        return _camera_axes(config, env)

    np.testing.assert_array_equal(found(frame="camera", camera="top"), axes)
    assert found(frame="world", camera="top") is None
    with pytest.raises(UserError, match="no camera 'tpo'; did you mean 'top'?"):
        found(frame="camera", camera="tpo")
    with pytest.raises(UserError, match="test/Arm has no cameras"):
        found(SimpleNamespace(interface=interface), frame="camera", camera="top")

    def shown(*cameras):
        page = PageConfig(cameras=cameras)
        _require_cameras(TeleopConfig(env=EnvConfig("test/Arm"), page=page), env)

    shown("top", "free")
    with pytest.raises(UserError, match="page.cameras: no camera 'sied'; did you mean 'side'?"):
        shown("top", "sied")


@pytest.fixture
def beads(lab) -> str:
    """One demonstration of a pusher."""
    assert main([
        "collect_lift", "env={name: my_lab.envs:make_bead}", "dataset=pushed", "episodes=1",
        "operators=[my_lab.operators:make_pusher]", "horizon=30", "out=collected",
    ]) == 0  # fmt: skip
    return "pushed"


def test_a_stored_demonstration_is_replayed_where_it_was_recorded(beads, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", open(os.devnull))
    assert main(["replay", f"replay.dataset={beads}", "out=again", "view=record"]) == 0
    replay = json.loads(Path("again/summary.json").read_text())["replay"]
    assert replay["same"] and replay["steps"] == len(Dataset.open(beads).load("demo_0"))
    error = capsys.readouterr().err
    assert "demonstrate" in error and error.rstrip().endswith("robolearn view again")
    assert len(Dataset.open(beads)) == 1
    reader = RrdReader("again/recording.rrd")
    chunks = [(c.entity_path, c) for c in reader.stream(store=reader.recordings()[0])]
    rows = [c.to_record_batch().num_rows for path, c in chunks if path == "/observation/position"]
    assert sum(rows) == 1 + replay["steps"] + 1  # its names, and what was seen


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "device: terminal keyboard: standard input is no terminal"),
        (("device.kind=gamepd",), "'device.kind=gamepd': device.kind: unknown 'gamepd'; did you"),
        (("page={host: 0.0.0.0}",), "page.host: 0.0.0.0 lets other machines steer"),
        (("device.kind=page", "page.port=70000"), "page.port"),
        (("device.frame=camera",), "device.camera: which camera? frame 'camera' needs one"),
        (("device.frame=tool", "device.kind=page"), "frame: tool needs actions named dx, dy, dz"),
        (("learn=2",), "'learn=2': learn: whose demonstrations are to be watched?"),
        (("judge={base: nowhere}", "device.kind=page"), "nowhere: no such file or folder"),
        (("policy=nowhere",), "policy: no checkpoint in nowhere"),
        (("policy=a", "replay={dataset: b}"), "leave out one of policy and replay"),
        (("env=null",), "env: which environment?"),
        (("replay={dataset: nowhere}",), "nowhere is not a dataset"),
        (("replay={dataset: datasets/lift_me}",), "not there; `robolearn teleop_lift` makes it"),
    ],
)
def test_what_cannot_work_is_one_line_and_leaves_nothing(lab, capsys, monkeypatch, arguments, said):
    monkeypatch.setattr(sys, "stdin", open(os.devnull))
    assert main([*BEAD, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not Path("beads").exists() and not Path("runs").exists()
