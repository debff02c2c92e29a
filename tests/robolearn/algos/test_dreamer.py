from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import robolearn.networks.world as module
from robolearn.algos.dreamer import Dreamer, DreamerConfig
from robolearn.errors import DataError, SpecError, UserError
from robolearn.loops import checkpoint
from robolearn.networks.functional import lambda_return
from robolearn.networks.rssm import Belief
from robolearn.networks.world import Sizes, image_loss
from robolearn.types import ArraySpec, Learner, Spec

TINY = Sizes(depth=1, deterministic=6, stochastic=4, units=8, batch=3, length=4)
CONFIG = DreamerConfig(starts=8, horizon=4)
B, T, A = 3, 4, 2


@pytest.fixture(autouse=True)
def tiny(monkeypatch, one_thread):
    monkeypatch.setitem(module.SIZES, "small", TINY)


def interface(size=(64, 64), **more):
    seen = {"state": ArraySpec((3,)), "eye": ArraySpec((*size, 3), "uint8")} | more
    return Spec("test/Eye", seen, ArraySpec((A,)), period_s=0.05)


def batch(seed=0):
    g = torch.Generator().manual_seed(seed)
    first = torch.zeros(B, T, dtype=torch.bool)
    first[0, 2] = True
    terminated = torch.zeros(B, T, dtype=torch.bool)
    terminated[0, 1] = True
    images = torch.randint(0, 256, (B, T, 64, 64, 3), generator=g, dtype=torch.uint8)
    return {
        "observations": {"eye": images},
        "actions": torch.rand(B, T, A, generator=g) * 2 - 1,
        "rewards": torch.rand(B, T, generator=g),
        "terminated": terminated,
        "is_first": first,
    }


def trained(seed=0, updates=2, config=CONFIG):
    learner = Dreamer(interface(), config, seed)
    return learner, [learner.update(batch(i)) for i in range(updates)]


def test_the_losses_of_the_model_are_equation_10():
    learner, _ = trained()
    rows, state = batch(9), learner.noise.get_state()
    losses, filtered = learner.world_losses(rows)
    features = filtered.belief.features
    images = rows["observations"]["eye"].float() / 255 - 0.5
    drawn = learner.world.decoder(features).movedim(2, -1)
    torch.testing.assert_close(losses["image"], 0.5 * ((drawn - images) ** 2).sum((2, 3, 4)).mean())
    counts = 1 - rows["is_first"].float()
    told = learner.world.reward(features)[..., 0]
    counts = counts / (B * T - 1)  # one moment is a first one
    expected = (counts * (told - rows["rewards"]) ** 2 / 2).sum()
    torch.testing.assert_close(losses["reward"], expected)
    goes_on = torch.sigmoid(learner.world.going_on(features)[..., 0])
    right = torch.where(rows["terminated"], 1 - goes_on, goes_on)
    torch.testing.assert_close(losses["going_on"], -(counts * right.log()).sum())
    normals = [torch.distributions.Normal(*n) for n in (filtered.posterior, filtered.prior)]
    kl = torch.distributions.kl_divergence(*normals).sum(-1).mean()
    torch.testing.assert_close(losses["kl"], kl.clamp(min=1.0))
    learner.config = replace(CONFIG, free_nats=0.0)
    torch.testing.assert_close(learner.kl_loss(filtered), kl)
    learner.config = CONFIG
    learner.noise.set_state(state)
    again, _ = learner.world_losses(rows)
    assert all(torch.equal(again[name], loss) for name, loss in losses.items())


def test_the_weights_of_the_losses_are_the_settings():
    learner = Dreamer(interface(), replace(CONFIG, image_weight=2.0, kl_weight=0.7))
    assert learner.scales() == {"image": 2.0, "reward": 1.0, "going_on": 1.0, "kl": 0.7}


def test_before_a_backdrop_images_are_what_differs_from_the_mean():
    learner, _ = trained(config=replace(CONFIG, backdrop=True))
    seen = [learner.images(batch(i)["observations"])[:, 0] for i in range(2)]  # one in four
    backdrop, means = learner.world.backdrop, [images.mean(0) for images in seen]
    torch.testing.assert_close(backdrop.mean, (means[0] + means[1]) / 2)
    first = (seen[0] - means[0]).square().mean().sqrt()
    second = (seen[1] - backdrop.mean).square().mean().sqrt()
    torch.testing.assert_close(backdrop.log_spread.exp(), (first + second) / 2)
    less = (seen[1] - backdrop.mean) / (3 * backdrop.log_spread.exp())
    torch.testing.assert_close(learner.world.code(seen[1]), learner.world.encoder(less))
    features = torch.zeros(1, 1, TINY.deterministic + TINY.stochastic)
    drawn = learner.decoder(features)[0] + backdrop.mean
    some = torch.zeros(1, dtype=torch.long)
    loss = learner.drawing_loss(features, seen[0][None, :1], some)
    torch.testing.assert_close(loss, image_loss(drawn, seen[0][:1]))
    pixels = ((drawn[0].detach() + 0.5) * 255).clamp(0, 255).round().byte().movedim(0, -1)
    np.testing.assert_array_equal(learner.draw(features)[0, 0], pixels)


def test_a_scene_that_stays_does_not_drown_the_robot():
    codes = []
    for backdrop in (False, True):
        learner = Dreamer(interface(), replace(CONFIG, backdrop=backdrop))
        rows = batch()
        rows["observations"]["eye"][:] = torch.tensor([40, 200, 90], dtype=torch.uint8)
        rows["observations"]["eye"][::2, :, 20:24, 30:34] = 255
        learner.learn_world(rows)
        found = learner.world.code(learner.images(rows["observations"])).detach()[:2, 0]
        codes.append(((found[0] - found[1]).norm() / found.norm(dim=-1).mean()).item())
    assert codes[1] > 5 * codes[0]


def test_the_prior_has_its_share_of_the_gradient_of_the_divergence():
    learner, _ = trained(config=replace(CONFIG, free_nats=0.0))
    filtered, weight = learner.world_losses(batch())[1], learner.world.rssm.expect[0].weight

    def slope(share):
        learner.config = replace(learner.config, kl_balance=share)
        return torch.autograd.grad(learner.kl_loss(filtered), weight, retain_graph=True)[0]

    assert slope(1.0).abs().max() > 0
    torch.testing.assert_close(slope(0.8), 0.8 * slope(1.0))


def test_free_nats_have_no_gradient():
    learner, _ = trained(config=replace(CONFIG, free_nats=1e6))
    assert learner.kl_loss(learner.world_losses(batch())[1]).item() == 1e6


def dreamt(learner, alive=None):
    g = torch.Generator().manual_seed(3)
    start = Belief(torch.randn(5, 6, generator=g), torch.randn(5, 4, generator=g))
    dream = learner.imagine(start)
    return dream, *learner.returns(
        dream, torch.ones(5, dtype=torch.bool) if alive is None else alive
    )


def test_returns_and_weights_are_of_what_was_imagined():
    learner, _ = trained()
    alive = torch.tensor([True, True, False, True, True])
    dream, returns, weights = dreamt(learner, alive)
    assert dream.features.shape == (5, 5, 10) and dream.actions.shape == (4, 5, A)
    features = dream.features[1:]
    discounts = 0.99 * torch.sigmoid(learner.world.going_on(features)[..., 0])
    rewards = learner.world.reward(features)[..., 0]
    values = learner.slow_value(features)
    torch.testing.assert_close(returns, lambda_return(rewards, values, discounts, 0.95))
    for t in range(4):
        torch.testing.assert_close(weights[t], alive * discounts[:t].prod(dim=0))
    assert not weights.requires_grad


def test_the_policy_is_improved_through_the_dynamics():
    learner, _ = trained()
    learner.value.measure_in(torch.tensor(4.0))
    noise = learner.noise.get_state()
    dream, returns, weights = dreamt(learner)
    objective = -(weights * (returns / 4 - 3e-3 * dream.log_pi)).mean()
    expected = torch.autograd.grad(objective, [*learner.policy.parameters()])
    assert all(slope.abs().max() > 0 for slope in expected)
    learner.noise.set_state(noise)
    g = torch.Generator().manual_seed(3)
    start = Belief(torch.randn(5, 6, generator=g), torch.randn(5, 4, generator=g))
    learner._starts = lambda believed, terminated: (start, torch.ones(5, dtype=torch.bool))
    wrong = learner.value(dream.features[:-1]) - returns
    slow = learner.slow_value.body[0].weight.clone()
    info = learner.learn_behaviour(start, torch.zeros(5, dtype=torch.bool))
    norm = torch.stack([slope.norm() for slope in expected]).norm()
    torch.testing.assert_close(info["policy_gradient"], norm)
    torch.testing.assert_close(info["policy_loss"], objective)
    torch.testing.assert_close(info["value_loss"], (weights * (wrong / 4) ** 2 / 2).mean())
    latest = learner.value.body[0].weight
    torch.testing.assert_close(learner.slow_value.body[0].weight, 0.98 * slow + 0.02 * latest)


def test_the_dynamics_are_smooth_in_the_actions_and_the_policy_is_not_in_what_it_sees():
    learner, _ = trained()
    distribution, seen = learner.distribution, []
    learner.distribution = lambda features: seen.append(features) or distribution(features)
    dream, _, _ = dreamt(learner)
    assert len(seen) == 4 and not any(features.requires_grad for features in seen)
    assert dream.features[1:].requires_grad


def test_another_unit_of_the_returns_changes_no_value():
    learner, _ = trained()
    features = torch.randn(7, 10, generator=torch.Generator().manual_seed(0))
    before = learner.value(features), learner.slow_value(features)
    learner._measure(torch.full((4, 5), 1001.0))
    assert learner.value.unit.item() == pytest.approx(21.0)  # 1 and a fiftieth of the way
    assert learner.slow_value.unit == learner.value.unit
    torch.testing.assert_close((learner.value(features), learner.slow_value(features)), before)
    torch.testing.assert_close(21 * learner.value.body(features)[:, 0], before[0])
    for _ in range(400):
        learner._measure(torch.zeros(4, 5))
    assert learner.value.unit.item() == 1.0  # never less


def test_every_part_learns_from_its_own_loss():
    learner, _ = trained(config=replace(CONFIG, free_nats=0.0))
    before = {name: p.detach().clone() for name, p in learner.network.named_parameters()}
    learner.learn_behaviour(learner.world_losses(batch())[1].belief.detach(), batch()["terminated"])
    moved = {
        n.split(".")[0] for n, p in learner.network.named_parameters() if (p != before[n]).any()
    }
    assert moved == {"policy", "value", "slow_value"}
    learner.update(batch())
    for name, p in learner.network.named_parameters():
        assert p.grad is not None or name.startswith("slow_value"), name
        assert (p != before[name]).any() or "going_on" in name, name


def test_from_at_most_so_many_states_is_imagined_and_none_twice():
    learner, _ = trained()
    believed = Belief(torch.arange(12.0).reshape(3, 4, 1), torch.zeros(3, 4, 1))
    terminated = torch.arange(12).reshape(3, 4) == 5
    starts, alive = learner._starts(believed, terminated)
    numbers = starts.h[:, 0].tolist()
    assert len(set(numbers)) == len(numbers) == 8
    assert alive.tolist() == [number != 5 for number in numbers]


def test_it_remembers_an_episode_and_forgets_those_that_ended():
    learner, _ = trained()
    images = {"eye": np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)}
    assert isinstance(learner, Learner) and (learner.name, learner.eats) == ("dreamer", "replay")
    learner.reset(2)
    first = learner.act(images)
    assert first.shape == (2, A) and first.dtype == np.float32
    second = learner.act(images)
    assert (second != first).all()  # of the same images, with another past
    learner.reset(2)
    learner.act(images)
    learner.forget(np.array([True, False]))
    third = learner.act(images)
    np.testing.assert_allclose(third[0], first[0], atol=1e-6)
    np.testing.assert_allclose(third[1], second[1], atol=1e-6)
    assert np.abs(learner.act(images, explore=True)).max() <= 1


def test_what_it_did_is_remembered_with_the_noise_of_exploring():
    learner, _ = trained()
    images = {"eye": np.zeros((2, 64, 64, 3), np.uint8)}
    action = learner.act(images, explore=True)
    np.testing.assert_array_equal(learner._memory[1], action)
    learner.config = replace(CONFIG, noise=1e6)
    assert (np.abs(learner.act(images, explore=True)) == 1).all()
    assert (np.abs(learner.act(images)) < 1).all()


def test_acting_follows_the_filter():
    learner, _ = trained()
    rows = batch(4)
    rows["is_first"][:] = False
    rows["is_first"][:, 0] = True
    learner.reset(B)
    for t in range(T):
        images = {"eye": rows["observations"]["eye"][:, t].numpy()}
        rows["actions"][:, t] = learner._memory[1]
        learner.act(images)
    learner._normal = torch.zeros  # the mean, as without exploring
    codes = learner.world.encoder(learner.images(rows["observations"]))
    filtered = learner.filter(codes, rows)
    torch.testing.assert_close(filtered.belief.h[:, -1], learner._memory[0].h)
    torch.testing.assert_close(filtered.belief.z[:, -1], learner._memory[0].z)


def test_what_is_believed_and_foreseen_is_the_likeliest():
    learner, _ = trained()
    rows = batch(4)
    believed, again = learner.believe(rows), learner.believe(rows)
    assert torch.equal(believed.features, again.features) and believed.h.shape == (B, T, 6)
    still = Belief(believed.h[:, 1], believed.z[:, 1])
    h, seen = learner.world.rssm.see(
        still,
        rows["actions"][:, 2],
        learner.world.rssm.code(learner.world.encoder(learner.images(rows["observations"])[:, 2])),
    )
    torch.testing.assert_close(believed.z[1:, 2], seen.mean[1:])  # the first row begins anew there
    actions = rows["actions"][:, 2:].movedim(1, 0)  # [2, B, A]
    foreseen = learner.foresee(still, actions)
    assert foreseen.z.shape == (2, B, 4)
    torch.testing.assert_close(foreseen.h[0], h)
    torch.testing.assert_close(foreseen.z[0], learner.world.rssm.prior(h).mean)
    second = learner.world.rssm.recur(Belief(foreseen.h[0], foreseen.z[0]), actions[1])
    torch.testing.assert_close(foreseen.h[1], second)


def test_the_world_can_be_learnt_alone():
    learner, _ = trained()
    before = {name: p.detach().clone() for name, p in learner.network.named_parameters()}
    info, believed = learner.learn_world(batch())
    moved = {n for n, p in learner.network.named_parameters() if (p != before[n]).any()}
    assert {n.split(".")[0] for n in moved} == {"world"}
    assert {"image_loss", "world_gradient"} < info.keys() and not believed.h.requires_grad


def test_what_is_drawn_is_the_mean_of_the_decoder():
    learner = Dreamer(interface(wrist=ArraySpec((64, 64, 3), "uint8")), CONFIG)
    features = torch.randn(2, 3, 10, generator=torch.Generator().manual_seed(0))
    drawn, mean = learner.draw(features), learner.world.decoder(features).detach() + 0.5
    assert drawn.shape == (2, 3, 64, 128, 3)
    pixel = (mean[1, 2, 3:, 5, 7] * 255).clamp(0, 255).round()  # of the second camera
    assert drawn[1, 2, 5, 64 + 7].tolist() == pixel.tolist()


def test_what_an_update_tells_and_that_the_seed_decides_it():
    _, infos = trained()
    losses = {f"{n}_loss" for n in ("image", "reward", "going_on", "kl", "policy", "value")}
    assert losses < infos[0].keys() and all(isinstance(v, float) for v in infos[0].values())
    assert infos == trained()[1] != trained(seed=1)[1]


def test_it_learns_to_draw_and_to_tell_the_reward():
    learner = Dreamer(interface(), replace(CONFIG, model_rate=3e-3))
    rows = batch()
    rows["observations"]["eye"][:] = torch.tensor([40, 200, 90], dtype=torch.uint8)
    infos = [learner.update(rows) for _ in range(40)]
    assert infos[-1]["image_loss"] < 0.2 * infos[0]["image_loss"]
    assert infos[-1]["reward_loss"] < 0.8 * infos[0]["reward_loss"]


@pytest.mark.parametrize("backdrop", [False, True])
def test_a_checkpoint_goes_on_bit_for_bit(tmp_path, backdrop):
    learner, _ = trained(config=replace(CONFIG, backdrop=backdrop))
    images = {"eye": np.zeros((1, 64, 64, 3), np.uint8)}
    learner.act(images, explore=True)
    checkpoint.save(tmp_path / "dreamer", learner, {"rounds": 3})
    restored = checkpoint.load_learner(tmp_path / "dreamer", interface()).learner
    assert restored.config == replace(CONFIG, backdrop=backdrop)
    np.testing.assert_array_equal(*(one.act(images, explore=True) for one in (learner, restored)))
    for i in range(2):
        assert learner.update(batch(i)) == restored.update(batch(i))
    for name, weight in learner.state_dict().items():
        assert torch.equal(weight, restored.state_dict()[name]), name
    with pytest.raises(DataError, match="weights are of another network"):
        learner.load_state_dict({"world": torch.zeros(1)})


def test_images_that_cannot_be_taken_are_one_line():
    with pytest.raises(SpecError, match="test/Eye: camera 'eye' has 84 x 84 pixels; the encoder t"):
        Dreamer(interface((84, 84)), CONFIG)
    blind = Spec("test/Blind", {"state": ArraySpec((3,))}, ArraySpec((A,)), 0.1)
    with pytest.raises(SpecError, match="test/Blind: no images to learn from; options"):
        Dreamer(blind, CONFIG)
    with pytest.raises(UserError, match="size should be 'small' or 'paper'"):
        DreamerConfig(size="large")


def test_several_cameras_are_seen_together():
    learner = Dreamer(interface(wrist=ArraySpec((64, 64, 3), "uint8")), CONFIG)
    seen = {
        name: torch.full((2, 64, 64, 3), v, dtype=torch.uint8)
        for name, v in (("eye", 255), ("wrist", 0))
    }
    images = learner.images(seen)
    assert images.shape == (2, 6, 64, 64)
    assert (images[:, :3] == 0.5).all() and (images[:, 3:] == -0.5).all()
    torch.testing.assert_close(image_loss(images, images + 1), torch.tensor(3 * 64.0**2))


def test_in_bfloat16_losses_are_nearly_the_same_and_weights_stay_float32():
    learner, _ = trained()
    short, _ = trained()
    short.config = replace(CONFIG, precision="bfloat16")
    exact, near = learner.update(batch(5)), short.update(batch(5))
    assert exact != near
    for name in ("image_loss", "reward_loss", "going_on_loss", "kl_loss", "imagined_return"):
        assert near[name] == pytest.approx(exact[name], rel=0.05, abs=0.01)
    assert {p.dtype for p in short.network.parameters()} == {torch.float32}
    believed = short.believe(batch(5)).features
    assert believed.dtype == torch.float32 and torch.isfinite(believed).all()


def test_compiled_it_learns_the_same(monkeypatch):
    through = partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", through)
    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self: setattr(self, "_compiled_call_impl", through(self._call_impl)),
    )
    _, exact = trained(updates=1)
    learner, told = trained(updates=1, config=replace(CONFIG, compiled=True))
    assert told[0] == pytest.approx(exact[0], rel=1e-3)
    plain = Dreamer(interface(), CONFIG)
    plain.load_state_dict(learner.state_dict())  # whose names are the same
