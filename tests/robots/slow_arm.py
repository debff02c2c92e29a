"""A driver of one's own, which a servo process makes by name: it can be told to take its time."""

import time

from robots.twin import Twin, TwinConfig


class SlowArm(Twin):
    """A quiet twin."""

    def __init__(self, clock=None):
        super().__init__(TwinConfig(failing=0.0), clock)

    def nap(self, seconds):
        """Come back late, with the seconds."""
        time.sleep(seconds)
        return seconds
