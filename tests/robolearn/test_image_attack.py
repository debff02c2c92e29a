"""Budgets of images, and environments that show perturbed ones."""

from itertools import product

import numpy as np
import pytest
import torch

from robolearn.errors import SpecError, UserError
from robolearn.image_attack import (
    ImageBudget,
    ImageBudgetConfig,
    ImagesBudget,
    RandomImages,
)
from robolearn.loops.rollout import Job, rollout, rollouts
from robolearn.perturbed import PerturbedEnv, PerturbedVectorEnv
from robolearn.types import ArraySpec, Spec

from .algos.screens import INTERFACE, Looker, Screen


def images(rng, count=200):
    """Give images that are black, white, grey in all tones, or all of it, and perturbations."""
    image = rng.integers(0, 256, (count, 4, 5, 3))
    image[: count // 4] = rng.choice([0, 255], (count // 4, 4, 5, 3))
    scale = 10.0 ** rng.uniform(-2, 4, (count, 1, 1, 1))
    return torch.as_tensor(image, dtype=torch.uint8), torch.as_tensor(
        scale * rng.normal(size=image.shape), dtype=torch.float32
    )


IMAGE = ArraySpec((4, 5, 3), "uint8")


@pytest.mark.parametrize(("norm", "size"), [*product(("linf", "l2"), (1.0, 2.5, 8.0, 255.0))])
def test_what_is_seen_is_an_image_within_the_budget(norm, size):
    budget = ImageBudget.of(ImageBudgetConfig(size=size, norm=norm), IMAGE)
    for seed in range(5):
        image, delta = images(np.random.default_rng(seed))
        generator = torch.Generator().manual_seed(seed)
        for seen in (budget.show(image, delta), budget.draw(image, generator)):
            assert seen.dtype == torch.uint8 and seen.shape == image.shape
            assert budget.measure(image, seen).max() <= 1
        near = budget.project(image, delta)
        assert budget.measure(image, image + near).max() <= 1 + 1e-5
        assert (image + near).min() >= 0 and (image + near).max() <= 255
        torch.testing.assert_close(budget.project(image, near), near)


def test_a_small_perturbation_of_grey_is_kept_and_a_large_one_reaches_the_edge():
    grey = torch.full((1, 4, 5, 3), 128, dtype=torch.uint8)
    delta = torch.full(grey.shape, 3.0)
    for norm in ("linf", "l2"):
        budget = ImageBudget(IMAGE, 8.0, norm)
        assert torch.equal(budget.show(grey, delta), grey + 3)
        assert torch.equal(budget.show(grey, 100 * delta), grey + 8)
        gradient = torch.randn(grey.shape, generator=torch.Generator().manual_seed(0))
        steepest = budget.steepest(gradient)
        assert budget.measure(grey, grey + steepest).item() == pytest.approx(1, rel=1e-5)
        drawn = budget.project(grey, torch.randn(500, 4, 5, 3) * 50)
        assert ((drawn * gradient).sum((1, 2, 3)) < (steepest * gradient).sum()).all()
    drawn = ImageBudget(IMAGE, 8.0).draw(grey.expand(50, -1, -1, -1), torch.Generator())
    assert drawn.unique().tolist() == [*range(120, 137)]


def test_wrong_budgets_of_images_are_said():
    for size in (0, 0.5, 256, float("nan")):
        with pytest.raises(UserError, match="size should be"):
            ImageBudgetConfig(size=size)
    with pytest.raises(SpecError, match=r"an image is uint8 \[H, W, C\], not float32 \[5\]"):
        ImageBudget.of(ImageBudgetConfig(), ArraySpec((5,)))


# environments


def budget(**config):
    return ImagesBudget.of(ImageBudgetConfig(**config), INTERFACE)


def test_physics_is_the_true_one_and_both_images_are_told():
    one, steps = budget(size=5), []
    env = PerturbedEnv(Screen(), RandomImages(one), one, Looker())
    episode = rollout(env, Looker(), horizon=6, seed=3, on_step=steps.append)
    plain = Screen()
    plain.reset(seed=3)
    for t, step in enumerate(steps):
        attack, true = step.info["attack"], plain.set_state(episode.states[t])
        np.testing.assert_array_equal(attack["true/front"], true["front"])
        np.testing.assert_array_equal(attack["seen/front"], step.observation["front"])
        np.testing.assert_array_equal(step.observation["state"], true["state"])
        apart = attack["seen/front"].astype(int) - attack["true/front"]
        assert 0 < np.abs(apart).max() <= 5
        alone = {name: array[None] for name, array in true.items()}
        np.testing.assert_allclose(attack["unattacked"], Looker().act(alone)[0], rtol=1e-6)
        _, reward, *_ = plain.step(episode.actions[t])
        assert reward == pytest.approx(episode.rewards[t])


def test_rows_of_a_batch_are_what_single_environments_give(together):
    one = budget(size=5)
    envs = PerturbedVectorEnv(together([Screen(), Screen()]), RandomImages(one), one, Looker())
    got = rollouts(envs, [Job(Looker(), seed) for seed in range(3)], horizon=6)
    for seed, (episode, _) in enumerate(got):
        single = PerturbedEnv(Screen(), RandomImages(one), one, Looker())
        alone = rollout(single, Looker(), horizon=6, seed=seed)
        for name in ("front", "state"):
            np.testing.assert_array_equal(episode.observations[name], alone.observations[name])
        np.testing.assert_array_equal(episode.actions, alone.actions)


def test_cameras_go_by_name():
    front = ArraySpec((4, 5, 3), "uint8")
    seen = {"front": front, "side": ArraySpec((2, 2, 3), "uint8"), "state": ArraySpec((1,))}
    both = Spec("test/Two", seen, ArraySpec((1,)), period_s=0.1)
    one = ImagesBudget.of(ImageBudgetConfig(cameras=["side"]), both)
    assert list(one.cameras) == ["side"] and one.touched.sum() == 12
    whole = ImagesBudget.of(ImageBudgetConfig(), both)
    rng = np.random.default_rng(0)
    images = {
        name: torch.as_tensor(rng.integers(0, 256, (3, *spec.shape)), dtype=torch.uint8)
        for name, spec in whole.shown.items()
    }
    flat = whole.flat(images)
    assert flat.shape == (3, 72)
    for name, image in whole.images(flat).items():
        torch.testing.assert_close(image, images[name].float())
    with pytest.raises(SpecError, match="no camera 'sid'; did you mean 'side'"):
        ImagesBudget.of(ImageBudgetConfig(cameras=["sid"]), both)
    with pytest.raises(SpecError, match="test/Screen shows no images 'side'"):
        one.require(INTERFACE)
    blind = Spec("test/Blind", {"state": ArraySpec((1,))}, ArraySpec((1,)), period_s=0.1)
    with pytest.raises(UserError, match="images: test/Blind shows no camera images"):
        ImagesBudget.of(ImageBudgetConfig(), blind)


def test_a_perturbation_that_is_not_finite_is_refused():
    def wrong(observation, generator):
        return torch.full((1, 192), torch.nan)

    with pytest.raises(UserError, match="the perturbation is not finite"):
        PerturbedEnv(Screen(), wrong, budget()).reset(seed=0)
