"""Jobs on several processes: they end when they should, and one that dies dies alone."""

import importlib
import operator
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future

import pytest

from robolearn.running import processes
from robolearn.running.processes import Died, Processes

PARENT = """
import os, sys, time
from robolearn.running.processes import Processes, first_done

if __name__ == "__main__":
    with Processes(1) as jobs:
        print(jobs.submit(os.getpid).result(), flush=True)
        first_done([jobs.submit(time.sleep, 600)])
"""
UNREADABLE = '''
class Unreadable(Exception):
    """An error that can be sent and not be read, as some packages' are."""

    def __init__(self, what, where):
        super().__init__(f"{what} {where}")


def fail():
    raise Unreadable("this", "here")
'''


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, within_s: float = 30.0) -> bool:
    deadline = time.monotonic() + within_s
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid)


def test_a_process_does_one_job_after_the_other_or_just_one():
    with Processes(1) as jobs:
        assert jobs.submit(os.getpid).result() == jobs.submit(os.getpid).result() != os.getpid()
    with Processes(1, fresh=True, threads=3) as jobs:
        assert jobs.submit(os.getpid).result() != jobs.submit(os.getpid).result()
        assert jobs.submit(os.getenv, "OMP_NUM_THREADS").result() == "3"


def test_an_error_comes_out_with_where_it_was_raised():
    with Processes(1) as jobs:
        with pytest.raises(ZeroDivisionError) as caught:
            jobs.submit(operator.truediv, 1, 0).result()
        assert "processes.py" in caught.value.__notes__[0]
        assert jobs.submit(operator.add, 1, 2).result() == 3


def test_a_process_that_dies_fails_its_own_job_alone():
    with Processes(2) as jobs:
        other = jobs.submit(time.sleep, 1.0)
        with pytest.raises(Died, match="exit code 3"):
            jobs.submit(os._exit, 3).result()
        with pytest.raises(Died, match="ended by SIGKILL"):
            jobs.submit(signal.raise_signal, signal.SIGKILL).result()
        assert other.result() is None
        assert jobs.submit(operator.add, 1, 2).result() == 3


def test_what_cannot_be_sent_or_read_leaves_no_process(tmp_path, monkeypatch):
    (tmp_path / "unreadable.py").write_text(UNREADABLE)
    monkeypatch.syspath_prepend(tmp_path)
    with Processes(1) as jobs:
        pid = jobs.submit(os.getpid).result()
        with pytest.raises(AttributeError, match="Can't pickle"):
            jobs.submit(operator.not_, lambda: None).result()
        assert not is_running(pid)
        pid = jobs.submit(os.getpid).result()
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            jobs.submit(importlib.import_module("unreadable").fail).result()
        assert not is_running(pid)


def test_an_error_outside_ends_the_jobs():
    with pytest.raises(KeyboardInterrupt), Processes(1) as jobs:
        pid = jobs.submit(os.getpid).result()
        running, waiting = jobs.submit(time.sleep, 600), jobs.submit(time.sleep, 600)
        deadline = time.monotonic() + 60
        while not running.running() and time.monotonic() < deadline:
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert gone(pid)
    with pytest.raises(Died):
        running.result(60)
    assert waiting.cancelled()


def test_a_wait_looks_up_and_ends_with_the_first_that_is_done(monkeypatch):
    monkeypatch.setattr(processes, "LOOKS_S", 0.01)
    looks, waits, jobs = [], processes.wait, [Future(), Future()]

    def counted(*how):
        looks.append(how)
        if len(looks) == 3:
            jobs[1].set_result(7)
        return waits(*how)

    monkeypatch.setattr(processes, "wait", counted)
    assert processes.first_done(jobs) == {jobs[1]} and len(looks) == 3


def test_jobs_are_given_as_they_are_done_each_once():
    jobs = [Future(), Future(), Future()]
    jobs[2].set_result("first")
    given = processes.as_done(jobs)
    assert next(given) is jobs[2]
    for job in jobs[:2]:
        job.set_result(None)
    assert set(given) == set(jobs[:2])


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_jobs_end_with_the_program_however_it_ends(tmp_path, kind):
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        pid = int(parent.stdout.readline())
        parent.send_signal(kind)
        try:
            parent.wait(60)
        finally:
            parent.kill()
    assert gone(pid)
