import numpy as np
import pytest
import torch

from robolearn.algos.gaussians import GaussianClone, GaussianExpert
from robolearn.algos.image_pgd import ImagePGD
from robolearn.algos.pgd import PGDConfig
from robolearn.errors import SpecError, UserError
from robolearn.image_attack import ImageBudgetConfig, ImagesBudget, RandomImages
from robolearn.types import ArraySpec, Spec

from .screens import INTERFACE, Looker, LookerConfig, Right, Screen


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
    pgd, true = ImagePGD(victim, intention, one, INTERFACE), observations()
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
        pgd = ImagePGD(victim, intention, budget(size=size), INTERFACE, PGDConfig(steps=10))
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
    pgd = ImagePGD(victim, GaussianExpert(Right(), 0.2), budget(), INTERFACE)
    assert (budget().perturb(true, pgd, torch.Generator())["front"] != true["front"]).any()


class Blind(Looker):
    """Acts on the state alone."""

    def distribution(self, observation):
        return super().distribution(observation | {"front": torch.zeros(1, 8, 8, 3)})


def test_what_cannot_be_attacked_or_intended_is_refused():
    with pytest.raises(UserError, match=r"victim 'object': has no distribution\(observation\)"):
        ImagePGD(object(), Looker(), budget(), INTERFACE)
    with pytest.raises(UserError, match="no gradient of its distribution reaches the images front"):
        ImagePGD(Blind(), Looker(), budget(), INTERFACE)
    with pytest.raises(UserError, match="intention 'Right': has no distribution"):
        ImagePGD(Looker(), Right(), budget(), INTERFACE)
    alone = Spec("test", {"front": INTERFACE.observations["front"]}, ArraySpec((1,)), period_s=0.1)
    with pytest.raises(SpecError, match="sees 'state', which test does not show"):
        ImagePGD(Looker(), Looker(), budget(), alone)
