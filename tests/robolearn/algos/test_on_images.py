"""Attacks on images: all methods, on a point in 8 x 8 pixels and a policy that looks at it."""

from itertools import product

import numpy as np
import pytest
import torch

from robolearn.algos.gaussians import GaussianClone, GaussianExpert
from robolearn.algos.pa_ad import PAAD
from robolearn.algos.pgd import PGD, PGDConfig
from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.algos.rat import RAT, RATConfig
from robolearn.algos.sa_rl import SARL
from robolearn.attack import Attacked, Handover
from robolearn.errors import DataError, SpecError, UserError
from robolearn.image_attack import ImageBudgetConfig, ImagesBudget, RandomImages
from robolearn.loops.attacking import CollectionConfig, attacking
from robolearn.loops.on_policy import OnlineConfig, online
from robolearn.loops.rollout import rollout
from robolearn.perturbed import AdversaryEnv, Directed
from robolearn.types import ArraySpec, Spec

from .screens import FRONT, IMAGE, INTERFACE, Looker, LookerConfig, Right, Screen, Screens

SMALL = RATConfig(widths=(8,), inner_rate=0.05)


pytestmark = pytest.mark.usefixtures("one_thread")


def budget(**config):
    return ImagesBudget.of(ImageBudgetConfig(**config), INTERFACE)


def observations(count=20):
    rng = np.random.default_rng(0)
    found = [Screen().set_state([x, 0]) for x in rng.uniform(-1, 1, count)]
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


def apart(victim, seen, aim):
    with torch.no_grad():
        return victim.distribution({n: torch.as_tensor(a) for n, a in seen.items()}).kl(aim).sum(-1)


@pytest.mark.parametrize(("norm", "size"), [("linf", 2), ("linf", 16), ("l2", 8)])
def test_it_lowers_the_divergence_more_than_chance_within_the_budget(norm, size):
    victim, intention, one = Looker(), GaussianExpert(Right()), budget(norm=norm, size=size)
    pgd, true = PGD(victim, intention, one), observations()
    seen = one.perturb(true, pgd, torch.Generator())
    drawn = one.perturb(true, RandomImages(one), torch.Generator().manual_seed(0))
    images = [torch.as_tensor(found["front"]) for found in (true, seen)]
    assert seen["front"].dtype == np.uint8 and one.cameras["front"].measure(*images).max() <= 1
    np.testing.assert_array_equal(seen["state"], true["state"])
    aim = intention.distribution(torch.as_tensor(true["state"]))
    before, after, chance = (apart(victim, one, aim) for one in (true, seen, drawn))
    assert (after <= before + 1e-4).all()  # rounding to whole grey levels aside
    assert after.mean() < 0.9 * before.mean() and after.mean() < chance.mean()


def test_an_intention_may_see_images_too_and_more_budget_does_more():
    victim, intention, true = Looker(), Looker(config=LookerConfig(seed=3)), observations()
    aim = intention.distribution({n: torch.as_tensor(a) for n, a in true.items()})
    found = []
    for size in (1, 4, 16):
        pgd = PGD(victim, intention, budget(size=size), PGDConfig(steps=10))
        seen = budget(size=size).perturb(true, pgd, torch.Generator())
        found.append(apart(victim, seen, aim).mean().item())
    assert found == sorted(found, reverse=True) and found[2] < 0.5 * found[0]


class Clone:
    """What ``GaussianClone`` asks of an ensemble that is cloned from images."""

    name, interface, device = "image_bc", INTERFACE, torch.device("cpu")

    def __init__(self):
        self.network = Looker().network

    def actions(self, observations):
        return Looker().distribution(observations).mean.expand(2, -1, -1)

    def act(self, observation):
        return Looker().act(observation)


def test_a_clone_that_sees_images_is_made_gaussian():
    victim, true = GaussianClone(Clone(), std=0.2), observations(3)
    policy = victim.distribution({n: torch.as_tensor(a) for n, a in true.items()})
    np.testing.assert_allclose(policy.mean.detach(), victim.act(true), rtol=1e-6)
    np.testing.assert_allclose(policy.log_std.exp(), 0.2, rtol=1e-6)
    pgd = PGD(victim, GaussianExpert(Right(), 0.2), budget())
    assert (budget().perturb(true, pgd, torch.Generator())["front"] != true["front"]).any()


class Blind(Looker):
    """Acts on the state alone."""

    def distribution(self, observation):
        return super().distribution(observation | {"front": torch.zeros(1, 8, 8, 3)})


def test_what_cannot_be_attacked_or_intended_is_refused():
    with pytest.raises(UserError, match=r"victim 'object': has no distribution"):
        PGD(object(), Looker(), budget())
    with pytest.raises(UserError, match="no gradient of its distribution reaches front"):
        PGD(Blind(), Looker(), budget())
    with pytest.raises(UserError, match="intention 'Right': has no distribution"):
        PGD(Looker(), Right(), budget())
    alone = Spec("test", {"front": INTERFACE.observations["front"]}, ArraySpec((1,)), period_s=0.1)
    with pytest.raises(SpecError, match="sees 'state', which test does not show"):
        PGD(Looker(), Looker(), ImagesBudget.of(ImageBudgetConfig(), alone))


# what learns


def tensors(observation):
    return {name: torch.as_tensor(array) for name, array in observation.items()}


def noise(count=40, seed=0):
    """Give observations that are black, white, or grey in all tones."""
    rng = np.random.default_rng(seed)
    front = rng.integers(0, 256, (count, *IMAGE.shape))
    front[: count // 2] = rng.choice([0, 255], front[: count // 2].shape)
    return {"front": front.astype(np.uint8), "state": np.zeros((count, 1), np.float32)}


def rights(state, action):
    """A Q of what is seen: to the right, and the more the further left it is."""
    return (2 - state["state"][:, 0]) * action[:, 0]


def methods(one):
    """Give perturbations of all kinds that learn, of weights and decisions of all sizes."""
    generator = torch.Generator().manual_seed(0)
    for scale in (1e-3, 1.0, 1e3, 1e20):
        rat = RAT(Looker(), GaussianExpert(Right()), one, SMALL)
        rat.adversary.layers[-1].weight.data *= scale
        yield rat
        for actor in (SARL(Looker(), one), PAAD(Looker(), one)):
            decided = scale * torch.randn(40, *actor.action.shape, generator=generator)
            yield lambda true, _, actor=actor, decided=decided: actor(true, decided)


@pytest.mark.parametrize(("norm", "size"), [*product(("linf", "l2"), (1.0, 5.5, 40.0))])
def test_what_is_learnt_is_shown_as_an_image_within_the_budget(norm, size):
    one, true = budget(norm=norm, size=size), noise()
    for perturbation in methods(one):
        shown = one.perturb(true, perturbation, torch.Generator())["front"]
        images = torch.as_tensor(true["front"]), torch.as_tensor(shown)
        assert shown.dtype == np.uint8 and one.cameras["front"].measure(*images).max() <= 1
        with torch.no_grad():
            delta = perturbation(tensors(true), None)
            torch.testing.assert_close(one.project(delta), delta, rtol=1e-5, atol=1e-5)
            learnt_from = one.seen(tensors(true), delta)["front"]
        np.testing.assert_array_equal(learnt_from, shown)


def test_gradients_pass_as_if_nothing_were_rounded_or_cut_off():
    one, true = budget(size=4), tensors(noise())
    delta = (9 * torch.randn(40, 192)).requires_grad_()
    slope = torch.randn(40, *IMAGE.shape)
    (slope * one.seen(true, delta)["front"]).sum().backward()
    torch.testing.assert_close(delta.grad, slope.flatten(1))


def test_squares_are_of_one_colour_and_few():
    spec = Spec("test/Large", {"front": ArraySpec((32, 24, 3), "uint8")}, ArraySpec((1,)), 0.1)
    one = ImagesBudget.of(ImageBudgetConfig(size=10), spec)
    assert one.shares.shape == (8 * 8 * 3,)
    shares = torch.zeros(1, 192)
    shares[0, 1], shares[0, -3] = 0.5, -2.0
    image = one.images(one.of_shares(shares))["front"][0]
    assert (image[:4, :3, 1] == 5).all() and (image[-4:, -3:, 0] == -10).all()
    assert image.abs().sum() == image[:4, :3, 1].sum() - image[-4:, -3:, 0].sum()


def test_pa_ad_goes_where_the_director_says():
    one, true = budget(size=4), observations()
    acts = PAAD(Looker(), one)
    assert acts.action.shape == (1,)
    found = [
        Looker().act(one.perturb(true, lambda t, _, d=d: acts(t, d), torch.Generator()))
        for d in torch.tensor([-1.0, 0.0, 1.0]).expand(20, 3).T[..., None]
    ]
    np.testing.assert_array_equal(found[1], Looker().act(true))
    assert (np.diff(np.stack(found), axis=0) > 0).all()


def test_an_adversary_looks_at_coarse_images_and_the_state():
    one, envs = budget(), Screens(3)
    shown = AdversaryEnv(envs, SARL(Looker(), one))
    assert shown.interface.observations == {"state": ArraySpec((193,))}
    observations, _ = shown.reset(seed=[1, 2, 3])
    true = envs._observe()
    np.testing.assert_allclose(
        observations["state"][:, :192], true["front"].transpose(0, 3, 1, 2).reshape(3, -1) / 255
    )
    np.testing.assert_array_equal(observations["state"][:, 192:], true["state"])
    for _ in range(Screen.horizon):
        observations, *_, info = shown.step(np.zeros((3, 192), np.float32))
    assert [one["state"].shape for one in info["final_obs"]] == [(193,)] * 3
    assert info["final_obs"][0]["state"][-1] != observations["state"][0, -1]
    alone = ImagesBudget.of(ImageBudgetConfig(), FRONT)
    assert alone.view.shape == (192,)


def test_states_are_weighed_by_what_actions_are_worth():
    rat = RAT(Looker(), GaussianExpert(Right()), budget(size=40), SMALL, q=rights)
    rat.adversary.layers[-1].weight.data *= 100
    before = {k: v.clone() for k, v in rat.state_dict().items()}
    info = rat.update({"observations": tensors(observations())})
    moved = {k for k, v in rat.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {k for k, _ in rat.network.named_parameters()}
    assert set(info) == {"divergence", "weight_spread"}


def test_a_checkpoint_goes_on_the_same():
    batch = {"observations": tensors(observations())}
    rat, other = (
        RAT(Looker(), GaussianExpert(Right()), budget(size=40), SMALL, seed, rights)
        for seed in (0, 5)
    )
    rat.fit_normaliser(batch["observations"])
    rat.find_movable(batch["observations"])
    rat.update(batch)
    other.load_state_dict(rat.state_dict())
    other.load_training_state({k: v.clone() for k, v in rat.training_state().items()})
    assert rat.update(batch) == other.update(batch)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in rat.state_dict().items())
    narrow = RAT(Looker(FRONT), Looker(FRONT), ImagesBudget.of(ImageBudgetConfig(), FRONT), SMALL)
    with pytest.raises(DataError, match="another network"):
        narrow.load_state_dict(rat.state_dict())


def success(policy, n=16):
    return np.mean([rollout(Screen(), policy, horizon=6, seed=100 + s).success for s in range(n)])


def test_a_point_that_goes_left_is_steered_to_the_right():
    """As RAT collects, towards an intention that needs no image."""
    victim, intention, one = (
        Looker(config=LookerConfig(1)),
        GaussianExpert(Right()),
        budget(size=16),
    )
    rat = RAT(victim, intention, one, RATConfig(widths=(32,), adversary_rate=3e-3))
    attacked, rng = Attacked(victim, rat, one), np.random.default_rng(0)
    collector, length = Handover(attacked, intention, 6, rng), CollectionConfig(3, 4, 50, 32)
    seen = attacking(rat, Screen(), collector, length, 6, rng)
    assert {name: one.shape[1:] for name, one in seen.items()} == {
        "front": (8, 8, 3),
        "state": (1,),
    }
    assert success(victim) == success(Attacked(victim, RandomImages(one), one)) == 0
    assert success(attacked) == success(rat) == 1
    assert success(Attacked(victim, PGD(victim, intention, one), one), n=4) == 1


@pytest.mark.parametrize(("actor", "steps"), [(PAAD, 1_500), (SARL, 6_000)])
def test_who_learns_from_rewards_steers_it_too(actor, steps):
    victim, one = Looker(config=LookerConfig(1)), budget(size=40)
    acts = actor(victim, one)
    envs = AdversaryEnv(Screens(), acts)
    config = PPOConfig(widths=(32,), learning_rate=3e-3, minibatch=64, gamma=0.8)
    learner = PPO(envs.interface, config)
    attacked = Attacked(victim, Directed(learner, acts), one)
    assert success(attacked) == 0
    online(learner, envs, OnlineConfig(steps=steps, horizon=24), seed=0)
    assert success(attacked) > 0.8
