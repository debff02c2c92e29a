"""SIGKILL in the middle of a session: what was finished is there."""

from demos.data.dataset import Dataset
from demos.data.doctor import doctor

from ..conftest import INTERFACE

KILLS = 10
SESSIONS = """
import os, random, signal, sys, time
from tests.demos.conftest import INTERFACE
from tests.demos.session.people import Button, Heard, Person, SessionConfig, SimulatedClock, Wire
from demos.data.dataset import Dataset
from demos.session.session import Session

class Doubting(Person):
    "Takes back one in five, and tells of each that is finished."
    told, taken_back = 0, True

    def listen(self, now_s):
        for name in session.outcome.names[self.told:]:
            self.told += 1
            print(name, flush=True)
        if self.attempt % 5 == 4 and not self.taken_back:
            self.taken_back = True
            return Heard((Button.UNDO,))
        return super().listen(now_s)

    def reset(self, n):
        super().reset(n)
        self.taken_back = False

for number in range(int(sys.argv[2])):
    dataset = Dataset.create(f"{sys.argv[1]}/{number}", INTERFACE)
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(theirs, 1)
        config = SessionConfig(goal=10**6, horizon=12, settle_steps=1)
        person = Doubting(attempts=10**6)
        clock = SimulatedClock()
        session = Session(Wire(), person, dataset, config, clock=clock, check_env=Wire())
        session.run()
    os.close(theirs)
    with os.fdopen(ours) as told:
        told.readline()
        time.sleep(random.Random(number).uniform(0, 0.3))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        print(1 + len(told.readlines()), flush=True)
"""


def test_sigkill_at_any_moment_loses_no_demonstration_that_was_finished(tmp_path, start_python):
    said, error = start_python(SESSIONS, tmp_path, KILLS).communicate()
    finished = [int(line) for line in said.splitlines()]
    assert len(finished) == KILLS, error
    for number, told in enumerate(finished):
        path = tmp_path / str(number)
        there = Dataset.ensure(path, INTERFACE)  # as the next session opens it
        assert len(there) in (told, told + 1)  # the last may be whole, but not told
        assert {there.metadata(name)["decision"] for name in there.names()} <= {"kept", "undone"}
        report = doctor(path)
        assert report.healthy, report.findings
