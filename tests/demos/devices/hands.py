"""Fakes for the tests of devices: interfaces, and a source that says what it is told."""

import dataclasses

import numpy as np

from demos.devices.contracts import Signal
from robolearn.types import ArraySpec, Spec

ARM_NAMES = ("dx", "dy", "dz", "drx", "dry", "drz", "gripper")
POSE = tuple(f"robot0_eef_quat_{axis}" for axis in "wxyz")
ARM = Spec(
    "test/Arm", {"state": ArraySpec((4,), names=POSE)}, ArraySpec((7,), names=ARM_NAMES), 0.05
)
LINE = Spec("test/Line", {"state": ArraySpec((2,))}, ArraySpec((1,)), 0.05)
UPRIGHT = {"state": np.array([1, 0, 0, 0], np.float32)}


class Hand:
    """A source: give it a signal, it says so; ``given_s`` is the time of the poll."""

    name, help = "hand", (("h", "move"),)

    def __init__(self, signal=None):
        self.signal, self.opened, self.fresh = signal or Signal(), 0, True

    def open(self):
        self.opened += 1

    def close(self):
        self.opened -= 1

    def poll(self, now_s):
        signal = self.signal
        self.signal = dataclasses.replace(signal, buttons=())
        return dataclasses.replace(signal, given_s=now_s) if self.fresh else signal
