"""Rerun's own viewer as a process of its own, listening on this machine only.

The servers inside of the rerun package listen on all interfaces; the viewer's command line can be
told not to. Nor does it report its use to its maker: its environment says so, and for the viewer in
the browser see ``page.py``.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import rerun_cli

from robolearn.errors import UserError
from robolearn.viz.page import HOST, Page

MAGIC = b"RRF"  # how recordings begin
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0


def has_screen(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Say whether a window can be opened here."""
    return platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def viewer_executable() -> Path:
    """Find Rerun's viewer itself: the command ``rerun`` is a script that starts it, and would leave
    it behind when it is ended.
    """
    folder = Path(rerun_cli.__file__).parent
    bundle = folder / "Rerun.app" / "Contents" / "MacOS" / "Rerun"
    return bundle if bundle.exists() else folder / "rerun"


def viewer_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give the environment in which the viewer reports nothing, and says little.

    "CI" is the one variable that turns its reports off; it then neither reads nor writes the
    settings that the user made with ``rerun analytics``, nor introduces itself. The variable that
    would turn them on in spite of all is left out.
    """
    kept = {name: value for name, value in environ.items() if name != "FORCE_RERUN_ANALYTICS"}
    return {**kept, "CI": "true", "RUST_LOG": "warn"}


class ViewerProcess:
    """Rerun's viewer: a ``window``, or a page at ``address``, with token; data goes to ``url``."""

    def __init__(self, window: bool, recording: Path | None = None) -> None:
        """Start it, showing ``recording`` if given, and wait until it listens.

        Raises RuntimeError if it does not.
        """
        self.window = window
        port, web_port = _free_ports(2)
        self.url = f"rerun+http://{HOST}:{port}/proxy"
        self.address = ""
        self._page: Page | None = None
        web = [] if window else ["--serve-web", "--web-viewer-port", str(web_port)]
        shown = [str(recording)] if recording else []
        self._process = subprocess.Popen(
            [viewer_executable(), "--bind", HOST, "--port", str(port), *web, *shown],
            env=viewer_environment(),
            start_new_session=True,  # Ctrl-C is for the run: it ends the viewer, or leaves it
        )
        try:
            self._await_port(port if window else web_port)
            if not window:
                self._page = Page(web_port, port)
                self.address = f"{self._page.address}?url={quote(self.url, safe='')}"
        except BaseException:
            self.close()
            raise

    def wait(self) -> None:
        """Wait until it ends by itself (the window is closed)."""
        self._process.wait()

    def close(self) -> None:
        """End it; calling it again does nothing."""
        if self._page is not None:
            self._page.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _await_port(self, port: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"rerun's viewer does not answer at {HOST}:{port}")


def view(path: str | Path) -> None:
    """Open a recording, or a run's, or that of the newest run in a folder of runs that has one.

    Until Ctrl-C, or until the window is closed: Rerun's, where there is a screen, else a page on
    localhost, whose address is printed. Raises UserError if there is no recording.
    """
    recording = _recording(Path(path))
    if not recording.is_file():
        raise UserError(f"{recording}: no such recording; a run with view=record makes one")
    with recording.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise UserError(f"{recording}: not a recording of Rerun's; a run has recording.rrd")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves no server behind
    process = ViewerProcess(has_screen(), recording)
    try:
        if not process.window:
            print(f"{recording} is shown at {process.address} (Ctrl-C ends it)", flush=True)
        process.wait()
    except KeyboardInterrupt:
        print()
    finally:
        process.close()
        signal.signal(signal.SIGTERM, before)


def _recording(path: Path) -> Path:
    """Find the recording at a path; directories of runs begin with the time."""
    if not path.is_dir():
        return path
    inside = [path / "recording.rrd", *sorted(path.glob("*/recording.rrd"), reverse=True)]
    return next((file for file in inside if file.is_file()), inside[0])


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
