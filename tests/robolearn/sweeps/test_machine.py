"""What a machine has left: a container is told by its files, cores by their locks."""

import os
import time
from concurrent.futures import Future

import pytest

from robolearn.errors import UserError
from robolearn.sweeps import machine
from robolearn.sweeps.grid import SweepConfig
from robolearn.sweeps.local import LocalEngine, room_for

MEMINFO = "MemTotal:       4000000 kB\nMemAvailable:   3000000 kB\n"


@pytest.fixture
def meminfo(tmp_path):
    file = tmp_path / "meminfo"
    file.write_text(MEMINFO)
    return file


def test_cores_are_those_that_a_container_is_granted(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda who: set(range(8)))
    assert machine.cores(tmp_path) == 8
    for quota, cores in (("max 100000", 8), ("250000 100000", 3), ("5000 100000", 1)):
        (tmp_path / "cpu.max").write_text(quota + "\n")
        assert machine.cores(tmp_path) == cores


def test_memory_is_what_is_available_or_what_a_container_has_left(tmp_path, meminfo):
    assert machine.free_memory_gb(tmp_path, meminfo) == pytest.approx(3.072)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1500000000\n")
    assert machine.free_memory_gb(tmp_path, meminfo) == pytest.approx(3.072)
    (tmp_path / "memory.max").write_text("2000000000\n")
    assert machine.free_memory_gb(tmp_path, meminfo) == pytest.approx(0.5)
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 300000000\n")
    assert machine.free_memory_gb(tmp_path, meminfo) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("cores", "free_gb", "cpus", "room"),
    [(8, 100, 1, 8), (8, 7, 1, 4), (8, 100, 3, 2), (1, 1, 2, 1)],
)
def test_there_is_room_for_as_many_runs_as_cores_and_memory(
    monkeypatch, cores, free_gb, cpus, room
):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "free_memory_gb", lambda: free_gb)
    assert room_for(SweepConfig(cpus=cpus)) == room


def test_cores_that_are_not_there_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 2)
    with pytest.raises(UserError, match=r"^sweep.cpus=3: this machine has 2 cores$"):
        LocalEngine(SweepConfig(cpus=3), tmp_path)


def test_a_core_is_nobody_elses_until_it_is_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    everything = os.sched_getaffinity(0)
    with machine.pinned(len(everything)):
        assert os.sched_getaffinity(0) == everything
        with machine.pinned(1):  # all are taken
            assert os.sched_getaffinity(0) == everything
    with machine.pinned(1):
        assert os.sched_getaffinity(0) == {min(everything)}
    assert os.sched_getaffinity(0) == everything


def test_a_run_waits_for_memory_while_another_has_it(tmp_path, monkeypatch):
    with LocalEngine(SweepConfig(at_once=2, memory_gb=2.0), tmp_path) as engine:
        monkeypatch.setattr(machine, "free_memory_gb", lambda: 1.0)
        assert not engine._is_short_of_memory()  # it would wait for ever
        engine._jobs = [Future()]
        assert engine._is_short_of_memory()
        monkeypatch.setattr(machine, "free_memory_gb", lambda: 3.0)
        assert not engine._is_short_of_memory()
        engine._begun = [time.monotonic()]  # of the 3 GB it will have 2
        assert engine._is_short_of_memory()
        engine._begun = [time.monotonic() - 60]
        assert not engine._is_short_of_memory()
