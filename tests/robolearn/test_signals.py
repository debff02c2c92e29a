"""What SIGTERM does to a program that closes what it holds."""

import subprocess
import sys

PROGRAM = """
import os, signal
from robolearn import signals
before = signal.getsignal(signal.SIGTERM)
with signals.as_interrupts():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        print("closed", flush=True)
assert signal.getsignal(signal.SIGTERM) is before
"""


def test_the_second_does_not_disturb_what_the_first_has_begun():
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "closed\n"), ended.stderr
