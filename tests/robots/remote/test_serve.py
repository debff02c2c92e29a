"""``robolearn robots serve``: a server and a client that know each other by a file."""

import os
import re
import signal
import subprocess
import sys

import pytest

from robolearn.errors import UserError
from robots import command
from robots.registry import make_robot


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["so101", "--prot=1"], "unknown option '--prot'; did you mean 'port'"),
        (["so101", "--rate=fast"], "--rate must be a number above 0, not fast"),
        (["so101", "--rate=.inf"], "--rate must be a number above 0, not inf"),
        (["so101", "--rate=true"], "--rate must be a number above 0, not True"),
        (["so101", "--host=["], "--host: the value is no YAML"),
        (["so101", "--port=123456"], "port .*65535"),
        (["--port=1"], "expected: robolearn robots serve ROBOT"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        command.main(["serve", *words])


def test_a_robot_is_served_until_it_is_told_to_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "robots serve so101 port=emulated --port=0".split()
    served = subprocess.Popen(
        [sys.executable, "-m", "robolearn", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    try:
        address = re.search(r"address=(\S+)", served.stdout.readline()).group(1)
        robot = make_robot("remote", {"address": address, "timeout_s": 30.0})
        robot.connect()
        assert robot.get_observation()["gripper.pos"] == pytest.approx(0.5, abs=0.01)
        robot.activate()
    finally:
        served.send_signal(signal.SIGTERM)
        said, errors = served.communicate(timeout=60)
    assert "Traceback" not in errors
    assert "interrupted" in errors
    assert "so101: 3 calls were answered; stopped: it is served no longer" in said
    robot.disconnect()
