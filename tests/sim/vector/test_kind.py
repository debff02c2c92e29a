"""What a batch asks one of its environments, whatever that leaves unsaid."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from robolearn.types import ArraySpec, Spec
from sim.vector.kind import Kind
from sim.vector.worker import Share

INTERFACE = Spec("lab", {"state": ArraySpec((2,))}, ArraySpec((1,)), 0.1)


def test_what_an_environment_says_not_or_by_none_is_unknown():
    unsaid = Kind(INTERFACE, None, 0, None, None, [], None)
    names = ("mujoco_state_size", "horizon", "render_mode", "metadata")
    assert Kind.of(SimpleNamespace(interface=INTERFACE)) == unsaid
    assert Kind.of(SimpleNamespace(interface=INTERFACE, **dict.fromkeys(names))) == unsaid
    assert Kind.of(SimpleNamespace(interface=INTERFACE, horizon=float("inf"))) == unsaid


def test_what_an_environment_says_is_taken_over():
    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 7}
    env = SimpleNamespace(
        interface=INTERFACE, mujoco_state_size=3, horizon=np.int64(9), render_mode="rgb_array",
        metadata=metadata,
    )  # fmt: skip
    assert Kind.of(env) == Kind(INTERFACE, None, 3, 9, "rgb_array", metadata["render_modes"], 7)


def test_the_environment_that_is_asked_is_the_one_that_is_blamed():
    memory = os.memfd_create("environments")
    share = Share(memory, lambda name: SimpleNamespace(interface=INTERFACE, horizon="long"))
    with pytest.raises(TypeError):
        share.make("lab", {}, range(1, 3), 3)
    assert share.row == 1
    os.close(memory)
