import dataclasses

import numpy as np
import pytest
import torch

from robolearn.errors import SpecError
from robolearn.loops.parts import Sighted, part_of, shown, sighted, taker
from robolearn.networks.functional import Gaussian
from robolearn.types import ArraySpec, Policy, Spec

NAMES = ("hand_x", "hand_y", "grip", "cube_x", "cube_y")
WHOLE = Spec(
    "test/Table",
    {
        "front": ArraySpec((4, 6, 3), "uint8"),
        "side": ArraySpec((4, 6, 3), "uint8"),
        "state": ArraySpec((5,), names=NAMES, units=("m", "m", "rad", "m", "m")),
        "hand": ArraySpec((2,)),  # a vector beside the state, as robomimic's files have them
    },
    ArraySpec((2,)),
    0.05,
)


def observations(*batch):
    rng = np.random.default_rng(0)
    return {
        name: rng.integers(0, 255, (*batch, *array.shape)).astype(array.dtype)
        for name, array in WHOLE.observations.items()
    }


def test_a_part_is_named_by_cameras_entries_and_groups_in_the_states_order():
    part = part_of(WHOLE, ("grip", "hand", "front"))
    assert list(part.observations) == ["front", "state"]
    state = part.observations["state"]
    assert (state.names, state.units) == (("hand_x", "hand_y", "grip"), ("m", "m", "rad"))
    assert part_of(WHOLE, ("state", "hand")).observations == {"state": WHOLE.observations["state"]}
    assert list(part_of(WHOLE, ("side",)).observations) == ["side"]


def test_what_is_not_there_is_said_with_what_is():
    with pytest.raises(SpecError, match="^no 'cubes'; did you mean 'cube'?"):
        part_of(WHOLE, ("cubes",))
    with pytest.raises(SpecError, match="^no 'top'; known: cube, front, grip, hand, side, state$"):
        part_of(WHOLE, ("top",))


def test_it_is_taken_out_of_single_observations_and_batches():
    part = part_of(WHOLE, ("cube", "side"))
    take = taker(WHOLE, part)
    for batch in ((), (7,), (2, 7)):
        seen = observations(*batch)
        taken = take(seen)
        assert taken.keys() == {"side", "state"} and taken["side"] is seen["side"]
        np.testing.assert_array_equal(taken["state"], seen["state"][..., [3, 4]])
    assert taker(WHOLE, part_of(WHOLE, ("state",)))(seen)["state"] is seen["state"]


def test_entries_are_found_by_name_whatever_their_order():
    part = part_of(WHOLE, ("hand", "grip"))
    turned = ArraySpec((5,), names=NAMES[::-1])
    other = dataclasses.replace(WHOLE, observations=WHOLE.observations | {"state": turned})
    seen = shown(other, part)
    part.require(seen, "the policy", "the environment")
    taken = taker(other, seen)({"state": np.arange(5.0)})["state"]
    assert taken.tolist() == [4.0, 3.0, 2.0]


class Recorder:
    """Acts on nothing, and remembers what it saw."""

    memoryless, eats = True, "transitions"

    def reset(self, n):
        self.begun = n

    def act(self, observation, explore=False):
        self.seen, self.explored = observation, explore
        return np.zeros((1, 2), np.float32)


def test_a_sighted_policy_is_shown_its_part():
    part = part_of(WHOLE, ("grip", "front"))
    policy = sighted(Recorder(), WHOLE, shown(WHOLE, part))
    assert isinstance(policy, Sighted) and isinstance(policy, Policy)
    assert policy.memoryless and policy.eats == "transitions"
    policy.reset(3)
    policy.act(observations(1), explore=True)
    assert policy.policy.begun == 3 and policy.policy.explored
    assert policy.policy.seen.keys() == {"front", "state"}
    assert policy.policy.seen["state"].shape == (1, 1)
    plain = Recorder()
    assert sighted(plain, WHOLE, WHOLE) is plain


class Grip(Recorder):
    """Acts on the entry of the state that it sees, and on the image."""

    interface = part_of(WHOLE, ("grip", "front"))

    def distribution(self, seen):
        bright = seen["front"].float().mean(dim=(1, 2, 3))
        mean = (seen["state"][:, 0] + bright)[:, None].expand(-1, 2)
        return Gaussian(mean, torch.zeros_like(mean), squashed=False)


def test_a_sighted_policy_has_the_distribution_of_its_part_with_gradients():
    policy = sighted(Grip(), WHOLE, shown(WHOLE, Grip.interface))
    seen = {name: torch.as_tensor(array).float() for name, array in observations(2).items()}
    seen = {name: array.requires_grad_() for name, array in seen.items()}
    column = WHOLE.observations["state"].names.index("grip")
    mean = policy.distribution(seen).mean
    expected = seen["state"][:, column] + seen["front"].mean(dim=(1, 2, 3))
    torch.testing.assert_close(mean[:, 0], expected)
    mean.sum().backward()
    assert seen["state"].grad[:, column].all() and seen["state"].grad.count_nonzero() == 2
    assert seen["front"].grad.all()


def test_where_something_is_missing_the_whole_is_given_to_be_refused():
    part = part_of(WHOLE, ("grip", "front"))
    blind = dataclasses.replace(WHOLE, observations={"state": WHOLE.observations["state"]})
    assert shown(blind, part) is blind
    bare = ArraySpec((2,), names=("hand_x", "hand_y"))
    armless = dataclasses.replace(WHOLE, observations=WHOLE.observations | {"state": bare})
    with pytest.raises(SpecError, match=r"state has shape \(2,\) instead of \(1,\)"):
        part.require(shown(armless, part), "the policy", "the environment")
