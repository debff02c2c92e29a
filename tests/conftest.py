"""What all tests rely on."""

import gc
import importlib
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

LAB = Path(__file__).parent / "lab"
ENTRY_POINTS = """\
[robolearn.verbs]
reach = my_lab.reach:run
[robolearn.environments]
bead = my_lab.envs:make_bead
[robolearn.learners]
spring = my_lab.method:Spring
"""


def pytest_configure() -> None:
    """Have Ctrl-C interrupt also where the tests run in the background, which ignores it.

    Files are not waited for until they are on the disk: no test cuts the power, and thousands of
    waits are a minute.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.fsync = lambda descriptor: None


def pytest_collection_finish() -> None:
    """Have Python's search for garbage pass over what has been imported."""
    gc.freeze()


class Together:
    """A batch of single environments in this process; ``moved`` counts their steps."""

    def __init__(self, envs):
        self.envs, self.interface, self.num_envs = envs, envs[0].interface, len(envs)
        self.horizon = None
        self.latest, self.moved, self.closed = [None] * len(envs), 0, False
        if hasattr(envs[0], "mujoco_state_size"):
            self.mujoco_state_size = envs[0].mujoco_state_size

    def reset(self, *, seed=None, options=None):
        options = options or {}
        for i in np.flatnonzero(options.get("reset_mask", np.ones(self.num_envs, bool))):
            start = {"state": options["state"][i]} if "state" in options else None
            own = None if seed is None else seed[i]
            self.latest[i], _ = self.envs[i].reset(seed=own, options=start)
        return self._observe(), {}

    def step(self, actions, active=None, *, autoreset=True):
        assert not autoreset
        result = [(0.0, False, False, {"success": False, "reward_terms": {}})] * self.num_envs
        for i in np.flatnonzero(active):
            self.latest[i], *result[i] = self.envs[i].step(actions[i])
            self.moved += 1
        rewards, terminated, truncated, infos = map(list, zip(*result, strict=True))
        terms = [info["reward_terms"] for info in infos]
        info = {
            "success": np.array([info["success"] for info in infos]),
            "reward_terms": {
                name: np.array([one.get(name, 0.0) for one in terms])
                for name in {name for one in terms for name in one}
            },
        }
        return self._observe(), np.array(rewards), np.array(terminated), np.array(truncated), info

    def get_state(self):
        return np.stack([env.get_state() for env in self.envs])

    def close(self):
        self.closed = True
        for env in self.envs:
            env.close()

    def _observe(self):
        return {name: np.stack([one[name] for one in self.latest]) for name in self.latest[0]}


@pytest.fixture
def together():
    """Give what makes a batch of single environments."""
    return Together


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Path:
    """A folder to work in that holds somebody's package ``my_lab`` and ``reach.yaml``."""
    shutil.copytree(LAB, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


@pytest.fixture
def site(tmp_path_factory, monkeypatch) -> Path:
    """A folder of installed packages, in which this Python and its child processes look."""
    folder = tmp_path_factory.mktemp("site")
    paths = [os.environ.get("PYTHONPATH"), str(folder)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    return folder


@pytest.fixture
def installed_lab(site, lab) -> Path:
    """The same, but installed: the package is in ``site``, with entry points, and not here."""
    shutil.move(lab / "my_lab", site)
    write_dist_info(site, "my_lab", ENTRY_POINTS)
    importlib.invalidate_caches()
    return lab


def write_dist_info(folder: Path, package: str, entry_points: str) -> None:
    """Write what an installer writes beside a package that publishes entry points."""
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Name: {package}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def dist_info():
    """Give what writes such a folder."""
    return write_dist_info
