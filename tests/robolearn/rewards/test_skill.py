import math

import pytest
import torch
from torch import nn

from robolearn.errors import DataError, SpecError, UserError
from robolearn.rewards.base import SkillConfig
from robolearn.rewards.skill import (
    DIAYN,
    LSD,
    METRA,
    LSDConfig,
    METRAConfig,
    Multiplier,
    Phi,
    Rarity,
    Time,
    UnitSpectralNorm,
)
from robolearn.types import RewardStream

torch.set_num_threads(1)
QUICK = {"widths": (32, 32), "learning_rate": 3e-3, "steps": 20, "minibatch": 128}
METHODS = {
    "lsd": (LSD, LSDConfig(**QUICK)),
    "metra": (METRA, METRAConfig(**QUICK)),
    "csd": (METRA, METRAConfig(distance="rarity", **QUICK)),
    "diayn": (DIAYN, SkillConfig(skills=4, **QUICK)),
}
every_method = pytest.mark.parametrize("method", METHODS)


def make(method, interface, seed=0):
    cls, config = METHODS[method]
    return cls(interface, config, seed)


def train(stream, transitions, updates=8, **world):
    return [stream.update(transitions(stream, seed, **world)) for seed in range(updates)]


class Given(nn.Module):
    """A network whose output is the same for all inputs."""

    def __init__(self, *output):
        super().__init__()
        self.output = torch.tensor(output)

    def forward(self, x):
        return self.output.expand(*x.shape[:-1], -1)


# all methods


@every_method
def test_learning_makes_the_skills_easier_to_see(method, interface, transitions):
    stream, untrained = make(method, interface), make(method, interface)
    assert isinstance(stream, RewardStream)
    train(stream, transitions)
    untrained.scale.load_state_dict(stream.scale.state_dict())
    unseen = transitions(stream, seed=99)
    before, after = (s.reward(unseen).mean().item() for s in (untrained, stream))
    assert after > abs(before) + 0.02


@every_method
def test_rewards_do_not_depend_on_how_transitions_are_arranged(method, interface, transitions):
    stream = make(method, interface)
    batch = transitions(stream, shape=(5, 7))
    flat = {
        "observations": {"state": batch["observations"]["state"].flatten(0, 1)},
        "next_observations": {"state": batch["next_observations"]["state"].flatten(0, 1)},
        "skills": batch["skills"].flatten(0, 1),
    }
    reward = stream.reward(batch)
    assert reward.shape == (5, 7) and not reward.requires_grad
    torch.testing.assert_close(reward.flatten(), stream.reward(flat))


@every_method
def test_a_seed_decides_everything(method, interface, transitions):
    before = torch.get_rng_state()
    streams = [make(method, interface, seed) for seed in (0, 0, 1)]
    infos = [train(stream, transitions, updates=2) for stream in streams]
    rewards = [stream.reward(transitions(stream, seed=9)) for stream in streams]
    assert infos[0] == infos[1] != infos[2]
    assert torch.equal(rewards[0], rewards[1]) and not torch.equal(rewards[0], rewards[2])
    assert torch.equal(before, torch.get_rng_state())


@every_method
def test_a_restored_stream_goes_on_as_if_never_interrupted(method, interface, transitions):
    stream, other = make(method, interface, seed=0), make(method, interface, seed=1)
    train(stream, transitions, updates=2)
    other.load_state_dict({name: t.clone() for name, t in stream.state_dict().items()})
    batch = transitions(stream, seed=9)
    assert torch.equal(stream.reward(batch), other.reward(batch))
    assert stream.update(batch) == other.update(batch)
    assert torch.equal(stream.reward(batch), other.reward(batch))


def test_the_state_of_another_network_is_refused(interface):
    lsd, metra = make("lsd", interface), make("metra", interface)
    with pytest.raises(DataError, match="another network"):
        metra.load_state_dict(lsd.state_dict())
    with pytest.raises(DataError, match="another network"):
        lsd.load_state_dict(LSD(interface, LSDConfig(widths=(8,))).state_dict())


def test_the_last_fault_of_another_networks_state_is_told(interface):
    diayn, wider = (DIAYN(interface, SkillConfig(widths=(width,))) for width in (8, 9))
    with pytest.raises(DataError, match="network: size mismatch for q.2.weight.*3, 8") as caught:
        diayn.load_state_dict(wider.state_dict())
    assert "\n" not in str(caught.value)


@every_method
def test_what_an_update_tells(method, interface, transitions):
    names = {
        "lsd": {"reward", "change"},
        "metra": {"reward", "change", "margin", "lambda"},
        "diayn": {"log_q", "reward"},
    }
    told = make(method, interface).update(transitions(make(method, interface)))
    assert told.keys() == names["metra" if method == "csd" else method]


@every_method
def test_networks_are_saved_under_names_that_stay(method, interface):
    names = {
        "lsd": {"phi.f.0.parametrizations.weight.original", "phi.f.2.bias"},
        "metra": {"phi.f.0.weight", "lambda.log"},
        "csd": {"phi.f.0.weight", "lambda.log", "distance.motion.4.weight"},
        "diayn": {"q.0.weight", "q.4.bias"},
    }
    stream = make(method, interface)
    assert names[method] <= stream.state_dict().keys()
    assert stream.name == ("metra" if method == "csd" else method)


@every_method
def test_the_seed_is_0_unless_given(method, interface):
    cls, config = METHODS[method]
    one, other = (
        stream.state_dict() for stream in (cls(interface, config), cls(interface, config, 0))
    )
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_an_unknown_entry_and_a_wrong_setting_are_named(interface):
    with pytest.raises(SpecError, match="no entry 'cup'"):
        LSD(interface, LSDConfig(entries=("cup",)))
    for config, wrong in ((SkillConfig, "steps"), (LSDConfig, "steps"), (METRAConfig, "steps")):
        with pytest.raises(UserError, match=f"{wrong} should be greater than 0"):
            config(**{wrong: 0})
    with pytest.raises(UserError, match="identity should be less than 1"):
        LSDConfig(identity=1.0)
    with pytest.raises(UserError, match="slack should be greater than or equal to 0"):
        METRAConfig(slack=-1.0)


# LSD


def test_a_weight_is_divided_by_its_largest_singular_value():
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    weight = turn @ torch.diag(torch.tensor([4.0, 3.0]))
    torch.testing.assert_close(UnitSpectralNorm()(weight), weight / 4)


@pytest.mark.parametrize("identity", [0.0, 0.4])
@pytest.mark.parametrize("smallest_spread", [None, 0.005])
def test_a_trained_phi_is_1_lipschitz(interface, transitions, identity, smallest_spread):
    lsd = LSD(interface, LSDConfig(identity=identity, smallest_spread=smallest_spread, **QUICK))
    train(lsd, transitions, along=(0.02, 0.02, 0.01))
    generator = torch.Generator().manual_seed(0)
    near = 0.3 * torch.randn(4000, 3, generator=generator)
    pair = near + torch.logspace(-3, 0, 4000)[:, None] * torch.randn(4000, 3, generator=generator)
    distance = ((near - pair) / lsd.scale.spread).norm(dim=-1)
    slope = (lsd.phi(near) - lsd.phi(pair)).norm(dim=-1) / distance
    assert slope.max() <= 1 + 1e-3
    assert slope.max() > 0.8  # the bound is used, too


def test_lsd_rewards_motion_of_phi_along_the_skill(interface, transitions):
    lsd = make("lsd", interface)
    batch = transitions(lsd, shape=(1, 1))
    here, there = (batch[o]["state"][..., 1:] for o in ("observations", "next_observations"))
    change = lsd.phi(there) - lsd.phi(here)  # [1, 1, 3]
    by_hand = sum(c * z for c, z in zip(change[0, 0], batch["skills"][0, 0], strict=True))
    torch.testing.assert_close(lsd.reward(batch)[0, 0], by_hand)


def test_lsd_loss_by_hand(interface):
    lsd = LSD(interface, LSDConfig(skills=2))
    lsd.network["phi"] = nn.Identity()
    change = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    loss, info = lsd.loss(torch.zeros(2, 2), change, torch.tensor([[0.6, 0.8], [1.0, 0.0]]))
    assert loss.item() == -2.5 == -info["reward"].item()  # of 5 and 0
    assert info["change"].item() == 3.0  # of 5 and 1


def test_a_share_of_phi_is_the_pose_itself():
    x = torch.tensor([[1.0, 2.0, 3.0]])
    torch.testing.assert_close(Phi(Given(4.0, 0.0), 0.25)(x), torch.tensor([[3.25, 0.5]]))  # cut
    filled = Phi(Given(4.0, 0.0, 0.0, 8.0), 0.25)(x)
    torch.testing.assert_close(filled, torch.tensor([[3.25, 0.5, 0.75, 6.0]]))
    alone = Phi(Given(4.0, 0.0), 0.25)(x[0])  # without an axis of a batch
    torch.testing.assert_close(alone, torch.tensor([3.25, 0.5]))


def lift(stream):
    """Give how far phi goes if the object is lifted 10 cm, relative to a push of 10 cm."""
    start = torch.tensor([0.05, -0.05, 0.0])
    push, up = (stream.phi(start + 0.1 * torch.eye(3)[i]) - stream.phi(start) for i in (0, 2))
    return (up.norm() / push.norm()).item()


@pytest.mark.parametrize(
    "remedy", [{"identity": 0.5, "smallest_spread": None}, {"smallest_spread": 0.005}]
)
def test_remedies_make_a_first_lift_count(interface, transitions, remedy):
    plain = LSD(interface, LSDConfig(smallest_spread=None, **QUICK))
    mended = LSD(interface, LSDConfig(**(QUICK | remedy)))
    for stream in (plain, mended):
        train(stream, transitions)
    assert lift(plain) < 0.1 < 0.4 < lift(mended)


# METRA


def test_steps_of_a_trained_phi_are_at_most_one_long(interface, transitions):
    metra = METRA(interface, METRAConfig(**(QUICK | {"learning_rate": 1e-2})))
    world = {"along": (0.03, 0.03, 0.03), "noise": (0.002, 0.002, 0.002)}
    train(metra, transitions, updates=15, **world)
    batch = transitions(metra, seed=99, **world)
    here, there = (batch[o]["state"][..., 1:] for o in ("observations", "next_observations"))
    length = (metra.phi(there) - metra.phi(here)).norm(dim=-1)
    assert length.square().mean() <= 1.0
    assert length.quantile(0.95) <= 1.05
    assert length.median() > 0.7  # the bound is used, too


def by_hand(metra, changes, skills):
    """Make phi the identity, and give METRA's loss and scalars for changes [B][2]."""
    metra.network["phi"] = nn.Identity()
    change = torch.tensor(changes)
    return metra.loss(torch.zeros_like(change), change, torch.tensor(skills))


def test_metra_loss_by_hand_with_a_norm_that_is_a_sum(interface):
    metra = METRA(interface, METRAConfig(skills=2, initial_lambda=3.0, slack=0.001))
    loss, info = by_hand(metra, [[1.0, 1.0], [0.1, 0.0]], [[0.6, 0.8], [1.0, 0.0]])
    margin = ((1 - 2.0) + 0.001) / 2  # of the mean of squares, the first step's would be 0
    reward = (1.4 + 0.1) / 2
    assert info["reward"].item() == pytest.approx(reward)
    assert info["margin"].item() == pytest.approx(margin)
    assert loss.item() == pytest.approx(-(reward + 3.0 * margin) + math.log(3.0) * margin)
    assert info["change"].item() == pytest.approx((2**0.5 + 0.1) / 2)
    assert info["lambda"].item() == pytest.approx(3.0)


def test_poses_that_follow_each_other_are_1_apart_whatever_the_size_of_a_pose():
    for size in (1, 3):
        x = torch.randn(4, size, generator=torch.Generator().manual_seed(0))
        assert Time()(x, x + 5.0).tolist() == [1.0] * 4
        assert Time().loss(x, x + 5.0).item() == 0.0


@pytest.mark.parametrize(("margin", "way"), [(-0.5, 1), (0.5, -1)])
def test_lambda_rises_while_the_constraint_is_broken_and_falls_while_it_holds(margin, way):
    multiplier = Multiplier(30.0)
    optimiser = torch.optim.SGD(multiplier.parameters(), lr=0.1)
    multiplier.loss(torch.full((4,), margin)).backward()
    optimiser.step()
    assert multiplier().item() == pytest.approx(30.0 * math.exp(way * 0.05))


def test_lambda_finds_its_own_size(interface, transitions):
    """From too low it rises, since phi breaks the constraint; from too high it falls."""
    for initial, rises in ((0.01, True), (300.0, False)):
        metra = METRA(interface, METRAConfig(initial_lambda=initial, **QUICK))
        info = train(metra, transitions)[-1]
        assert (info["lambda"] > initial) is rises


# CSD


def test_rarity_by_hand():
    spread = torch.tensor([0.2, 0.05]) - 0.05  # softplus of what the network gives
    raw = torch.log(torch.expm1(spread.clamp(min=1e-9)))
    rarity = Rarity(Given(0.1, 0.0, *raw.tolist()), smallest_step=0.05)
    x = torch.tensor([[0.5, -1.0], [0.0, 0.0]])
    next_x = x + torch.tensor([[0.3, 0.3], [0.1, 0.0]])  # the second is just what is expected
    mean_size = math.sqrt(0.2 * 0.05)
    expected = ((0.3 - 0.1) / 0.2 * mean_size) ** 2 + (0.3 / 0.05 * mean_size) ** 2
    assert rarity(x, next_x).tolist() == pytest.approx([expected, 0.0], rel=1e-4, abs=1e-6)
    log_q = sum(
        -0.5 * (error / std) ** 2 - math.log(std) - 0.5 * math.log(2 * math.pi)
        for error, std in ((0.2, 0.2), (0.3, 0.05), (0.0, 0.2), (0.0, 0.05))
    ) / len(x)
    assert rarity.loss(x, next_x).item() == pytest.approx(-log_q, rel=1e-4)


def test_the_distance_is_fitted_beside_phi(interface):
    csd = METRA(interface, METRAConfig(distance="rarity", initial_lambda=3.0))
    x, next_x, z = torch.randn(3, 6, 3, generator=torch.Generator().manual_seed(0))
    loss, info = csd.loss(x, next_x, z)
    metra = -(info["reward"] + 3.0 * info["margin"]) + math.log(3.0) * info["margin"]
    distance = csd.network["distance"]
    torch.testing.assert_close(loss, metra + distance.loss(x, next_x))
    alone = [distance(x[i : i + 1], next_x[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(distance(x, next_x), torch.cat(alone))  # in units of its own state


def test_rare_motion_is_far(interface, transitions):
    settings = QUICK | {"smallest_spread": 0.1, "smallest_step": 0.01, "learning_rate": 1e-2}
    csd = METRA(interface, METRAConfig(distance="rarity", **settings))
    train(csd, transitions, updates=20, along=(0.0, 0.0, 0.0), noise=(0.02, 0.02, 0.004))
    x, a_step_aside = torch.zeros(1, 3), torch.tensor([[0.1, 0.0, 0.0]])
    distance = csd.network["distance"]
    aside, up = distance(x, a_step_aside).item(), distance(x, a_step_aside.roll(2)).item()
    assert up > 5 * aside  # (0.02 / 0.004)^2 = 25 times, if it were learned to the end


# DIAYN


def test_diayn_reward_by_hand(interface):
    diayn = DIAYN(interface, SkillConfig(skills=2))
    diayn.network["q"] = Given(0.0, math.log(3.0))  # q = (1/4, 3/4)
    state = {"state": torch.zeros(2, 4)}
    batch = {"observations": state, "next_observations": state, "skills": torch.eye(2)}
    expected = torch.tensor([math.log(1 / 4), math.log(3 / 4)]) - math.log(1 / 2)
    torch.testing.assert_close(diayn.reward(batch), expected)
    loss, info = diayn.loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.eye(2))
    assert loss.item() == pytest.approx(-(math.log(1 / 4) + math.log(3 / 4)) / 2)
    assert info["reward"].item() == pytest.approx(expected.mean().item())
    assert info["log_q"].item() == pytest.approx(-loss.item())


def test_diayn_looks_at_where_the_step_led(interface, transitions):
    diayn = make("diayn", interface)
    batch = transitions(diayn)
    elsewhere = batch | {"observations": {"state": batch["observations"]["state"] + 1.0}}
    assert torch.equal(diayn.reward(batch), diayn.reward(elsewhere))
