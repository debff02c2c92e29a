"""The viewer runs as a process of its own, on this machine only, and ends when it should."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from robolearn.errors import UserError
from robolearn.types import Step
from robolearn.viz import Viewer
from robolearn.viz import process as viz_process
from robolearn.viz.process import ViewerProcess, has_screen, view, viewer_environment


def listening_addresses(port):
    """Local addresses, in /proc/net's hexadecimal, on which somebody listens at ``port``."""
    lines = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if Path(table).exists():
            lines += [line.split() for line in Path(table).read_text().splitlines()[1:]]
    found = [line[1].split(":") for line in lines if line[3] == "0A"]
    return {address for address, at in found if int(at, 16) == port}


def ports(process):
    return [int(re.search(r"127.0.0.1:(\d+)", text)[1]) for text in (process.url, process.address)]


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def recording(tmp_path):
    with Viewer(tmp_path / "recording.rrd") as viewer:
        viewer.log_step(Step(0, {}, np.zeros(2), 1.0, {}, False, False, {}))
    return tmp_path / "recording.rrd"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_web_page_is_served_on_this_machine_only(recording):
    process = ViewerProcess(window=False, recording=recording)
    try:
        page = urllib.request.urlopen(process.address, timeout=10).read()
        assert b"<html" in page.lower()
        for port in ports(process):
            assert listening_addresses(port) == {"0100007F"}  # 127.0.0.1
    finally:
        process.close()
    process.close()
    assert not any(answers(port) for port in ports(process))


def test_the_address_holds_a_token_and_the_page_may_reach_its_data_only(recording):
    process = ViewerProcess(window=False, recording=recording)
    try:
        with urllib.request.urlopen(process.address, timeout=10) as answer:
            connect = re.search(r"connect-src ([^;]*)", answer.headers["Content-Security-Policy"])
        data, page = ports(process)
        assert connect[1] == f"'self' http://127.0.0.1:{data}"
        assert f"%3A{data}%2Fproxy" in process.address
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{page}/", timeout=10)
    finally:
        process.close()


@pytest.fixture
def home(tmp_path):
    """The environment of a user who allowed Rerun's reports, and insists on them."""
    settings = tmp_path / "config" / "rerun" / "analytics.json"
    settings.parent.mkdir(parents=True)
    places = {"config_file_path": str(settings), "data_dir_path": str(tmp_path / "reports")}
    user = {"analytics_enabled": True, "analytics_id": "somebody", "metadata": {}}
    settings.write_text(json.dumps(user | places))
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", "DISPLAY", "WAYLAND_DISPLAY")}
    folders = {"HOME": tmp_path, "XDG_CONFIG_HOME": tmp_path / "config", "XDG_DATA_HOME": tmp_path}
    return kept | {k: str(v) for k, v in folders.items()} | {"FORCE_RERUN_ANALYTICS": "1"}


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_viewer_finds_its_reports_turned_off(home):
    environ = viewer_environment(home) | {"RUST_LOG": "re_analytics=debug"}
    command = [viz_process.viewer_executable(), "--serve-grpc", "--bind", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--port", "auto"], env=environ, stderr=subprocess.PIPE, text=True
    )
    stop = threading.Timer(30, process.kill)  # else it would run for ever without a word
    stop.start()
    try:
        said = next((line for line in process.stderr if "nalytics" in line), "nothing")
    finally:
        stop.cancel()
        process.kill()
        process.communicate()
    assert "Analytics disabled" in said


@pytest.mark.parametrize("is_new", [False, True])
def test_recording_and_viewing_report_nothing_and_leave_the_users_settings(home, tmp_path, is_new):
    if is_new:  # to Rerun, which introduces itself then
        shutil.rmtree(tmp_path / "config")
    before = files(tmp_path)
    recording = tmp_path / "recording.rrd"
    command = f"from robolearn.viz import Viewer, view; Viewer(path := {str(recording)!r}).close()"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{command}; view(path)"], env=home, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert "is shown at http://127.0.0.1" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=30)
    assert said == ("\n", "")
    recording.unlink()
    assert files(tmp_path) == before


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_view_serves_until_it_is_told_to_end(recording, end):
    command = f"from robolearn.viz import view; view({str(recording.parent)!r})"
    environ = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    process = subprocess.Popen(
        [sys.executable, "-c", command], stdout=subprocess.PIPE, text=True, env=environ
    )
    try:
        address = re.search(r"http://127.0.0.1:(\d+)/\S+", process.stdout.readline())
        assert urllib.request.urlopen(address[0], timeout=10).status == 200
        process.send_signal(end)
        assert process.wait(timeout=30) == 0
        assert not answers(int(address[1]))
    finally:
        process.terminate()


def test_a_live_viewer_without_a_screen_prints_where_to_look(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with Viewer(tmp_path / "r.rrd", live=True) as viewer:
        address = re.search(r"http://127.0.0.1:(\d+)/\S+", capsys.readouterr().out)
        viewer.log_step(Step(0, {}, np.zeros(2), 1.0, {}, False, False, {}))
        assert urllib.request.urlopen(address[0], timeout=10).status == 200
    assert not answers(int(address[1]))
    assert (tmp_path / "r.rrd").stat().st_size > 1000


def test_a_viewer_that_does_not_start_is_an_error(tmp_path, monkeypatch):
    broken = tmp_path / "rerun"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(viz_process, "viewer_executable", lambda: broken)
    with pytest.raises(RuntimeError, match="does not answer"):
        ViewerProcess(window=False)


def test_a_screen_is_found_by_what_the_system_says():
    assert has_screen({"DISPLAY": ":0"}, "linux")
    assert has_screen({"WAYLAND_DISPLAY": "wayland-0"}, "linux")
    assert has_screen({}, "darwin")
    assert not has_screen({"DISPLAY": ""}, "linux")


def test_a_recording_is_found_in_a_run_and_in_the_newest_run_that_has_one(tmp_path):
    for run in ("20260101-000000-0", "20260102-000000-0", "20260103-000000-0"):
        (tmp_path / run).mkdir()
    first, second = (tmp_path / f"2026010{i}-000000-0" / "recording.rrd" for i in (1, 2))
    first.touch()
    assert viz_process._recording(tmp_path) == viz_process._recording(first.parent) == first
    second.touch()
    assert viz_process._recording(tmp_path) == second
    assert viz_process._recording(first) == first
    assert viz_process._recording(tmp_path / "20260103-000000-0").parent.name.startswith("20260103")


def test_view_names_a_missing_recording(tmp_path):
    with pytest.raises(UserError, match="recording.rrd: no such recording"):
        view(tmp_path)
    with pytest.raises(UserError, match="other.rrd: no such recording"):
        view(tmp_path / "other.rrd")
