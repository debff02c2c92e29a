import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

import robolearn.networks.world as world
from robolearn.algos.infopower import (
    Critic,
    InfoPower,
    InfoPowerConfig,
    info_nce,
    log_cap,
    nwj,
)
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.networks.rssm import Belief
from robolearn.networks.world import Sizes
from robolearn.running import launch
from robolearn.types import ArraySpec, Spec

TINY = Sizes(depth=1, deterministic=6, stochastic=4, units=8, batch=3, length=4)
CONFIG = InfoPowerConfig(starts=8, horizon=4)
SPEC = Spec("test/Eye", {"eye": ArraySpec((64, 64, 3), "uint8")}, ArraySpec((2,)), period_s=0.05)
B, T, A = 3, 4, 2


@pytest.fixture(autouse=True)
def tiny(monkeypatch, one_thread):
    monkeypatch.setitem(world.SIZES, "small", TINY)


def batch(seed=0):
    g = torch.Generator().manual_seed(seed)
    first = torch.zeros(B, T, dtype=torch.bool)
    first[0, 2] = True
    images = torch.randint(0, 256, (B, T, 64, 64, 3), generator=g, dtype=torch.uint8)
    return {
        "observations": {"eye": images},
        "actions": torch.rand(B, T, A, generator=g) * 2 - 1,
        "rewards": torch.rand(B, T, generator=g),
        "terminated": torch.zeros(B, T, dtype=torch.bool),
        "is_first": first,
    }


def trained(config=CONFIG, updates=2):
    learner = InfoPower(SPEC, config)
    return learner, [learner.update(batch(i)) for i in range(updates)]


def gaussian_pairs(rho, count):
    """Give log p(y_j | x_i) / p(y_j) [M, M] of unit Gaussians with correlation rho, and their I."""
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, count))
    y = rho * x + math.sqrt(1 - rho**2) * noise
    ratio = -0.5 * ((y - rho * x[:, None]) ** 2 / (1 - rho**2) - y**2 + math.log(1 - rho**2))
    return torch.from_numpy(ratio), -0.5 * math.log(1 - rho**2)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_both_bounds_are_tight_on_a_known_pair(rho):
    ratio, information = gaussian_pairs(rho, 1500)
    assert info_nce(ratio).item() == pytest.approx(information, abs=0.06)
    assert nwj(ratio + 1).item() == pytest.approx(information, abs=0.06)
    for worse in (0.5 * ratio, 1.5 * ratio, ratio + 1.5):
        assert nwj(worse + 1) <= nwj(ratio + 1) + 1e-6
        assert info_nce(worse) <= info_nce(ratio) + 1e-6


def test_the_bounds_by_hand():
    logits = torch.tensor([[1.0, -1.0], [0.5, 2.0]])
    by_row = [
        1 - math.log((math.e + math.exp(-1)) / 2),
        2 - math.log((math.exp(0.5) + math.exp(2)) / 2),
    ]
    assert info_nce(logits).item() == pytest.approx(sum(by_row) / 2)
    product = (math.exp(-1) + math.exp(0.5)) / 2
    assert nwj(logits).item() == pytest.approx(1.5 - product / math.e)


def test_infonce_is_never_above_the_logarithm_of_the_batch_and_nwj_stays_finite():
    for count in (2, 16, 100):
        sure = 1000 * torch.eye(count)
        assert info_nce(sure).item() == pytest.approx(math.log(count), rel=1e-5)
        noise = torch.randn(count, count, generator=torch.Generator().manual_seed(0))
        assert info_nce(30 * noise) <= math.log(count) + 1e-5
        assert torch.isfinite(nwj(1000 * noise)) and torch.isfinite(nwj(sure))


def slopes(learner, rows):
    """Give how what the inverse model sees depends on the actions, and the model itself on h."""
    rows["actions"].requires_grad_()
    codes = learner.world.encoder(learner.images(rows["observations"]))
    filtered = learner.filter(codes, rows)
    found = []
    for t in range(1, T):  # z_t and z_(t-1), for a_(t-1), which leads to moment t
        seen = filtered.belief.z[:, t].sum() + filtered.belief.z[:, t - 1].sum()
        (slope,) = torch.autograd.grad(seen, rows["actions"], retain_graph=True)
        found.append(slope[:, t].abs().max().item())
    return found, filtered


def test_the_inverse_model_cannot_read_the_action_from_what_it_sees():
    learner, _ = trained()
    found, filtered = slopes(learner, batch(9))
    assert found == [0.0] * (T - 1)
    leaking, _ = trained(replace(CONFIG, leaking=True))
    assert min(slopes(leaking, batch(9))[0]) > 0  # the paper's posterior hands it over
    rows = batch(9)
    h = torch.autograd.functional.jacobian(
        lambda a: learner.filter(torch.zeros(B, T, 32), rows | {"actions": a}).belief.h[:, 1].sum(),
        rows["actions"],
    )
    assert h[:, 1].abs().max() > 0  # and so does the deterministic part
    z = filtered.belief.z
    assert learner.world.critics.inverse[0].in_features == 2 * z.shape[-1]


def test_the_action_is_told_where_images_show_it_and_stays_unknown_where_they_do_not():
    told = {}
    for leaking, shown in ((False, False), (True, False), (False, True)):
        learner = InfoPower(SPEC, replace(CONFIG, leaking=leaking, model_rate=0.01))
        rows, rng = batch(), torch.Generator().manual_seed(0)
        found = []
        for _ in range(200):
            rows["actions"] = torch.rand(B, T, A, generator=rng) * 2 - 1
            codes = torch.zeros(B, T, 32)
            codes[..., :A] = shown * rows["actions"]  # a_(t-1), which led to moment t
            loss = -learner.told_of_action(learner.filter(codes, rows).belief.z, rows)
            found.append(-loss.item())
            learner._descend("world", loss + 0 * sum(p.sum() for p in learner.world.parameters()))
        told[leaking, shown] = np.mean(found[-30:])
    unknown, leaked, seen = told.values()
    guess = -A * math.log(2)
    assert unknown < guess + 0.2 < guess + 0.5 < min(leaked, seen)


def test_the_action_is_told_within_episodes_and_its_cap_is_known():
    learner, _ = trained()
    rows = batch(9)
    z = torch.randn(B, T, 4)
    whole = learner.log_q(z[:, :-1], z[:, 1:], rows["actions"][:, 1:])
    expected = whole[~rows["is_first"][:, 1:]].mean()
    torch.testing.assert_close(learner.told_of_action(z, rows), expected)
    last = learner.world.critics.inverse[-1]
    torch.nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([0.0, 0.0, -50.0, -50.0]))
    sure = learner.log_q(z[:, :-1], z[:, 1:], torch.zeros(B, T - 1, A))
    torch.testing.assert_close(sure, torch.full_like(sure, A * log_cap()))
    assert log_cap() == pytest.approx(1.38, abs=0.005)


@pytest.mark.parametrize(("kl", "way"), [(1000.0, 1), (0.0, -1)])
def test_the_multiplier_rises_where_the_constraint_is_violated_and_falls_where_it_is_met(kl, way):
    learner, _ = trained(updates=0)
    told = torch.tensor(-2.7), torch.tensor(0.1)  # both better than aimed at
    slack = learner.slack(torch.tensor(kl), *told)
    assert np.sign(slack.item()) == -way
    before, learner.slack = learner.multiplier.item(), lambda *terms: slack
    for _ in range(10):
        learner.learn_world(batch())
    assert np.sign(learner.multiplier.item() - before) == way
    with torch.no_grad():
        learner.network["multiplier"].log.fill_(way * 1e6)
    assert math.exp(-3) - 1e-6 <= learner.multiplier.item() <= math.exp(3) + 1e-4


def test_the_logarithm_of_the_multiplier_goes_down_the_slack_itself():
    learner, (info,) = trained(updates=1)
    rate = learner.config.multiplier_rate
    assert learner.network["multiplier"].log.item() == pytest.approx(-rate * info["slack"])
    terms = (torch.tensor(info[f"{name}_loss"]) for name in ("kl", "inverse", "reward"))
    assert info["slack"] == pytest.approx(learner.slack(*terms).item(), rel=1e-4)
    still, (info,) = trained(replace(CONFIG, constrained=False), updates=1)
    assert still.network["multiplier"].log.item() == 0 and info["multiplier"] == 1
    with pytest.raises(UserError, match="kl_balance: with 1"):
        replace(CONFIG, kl_balance=1.0)


def test_a_nat_of_divergence_costs_the_posterior_what_the_lagrangian_says():
    learner, _ = trained()
    losses, filtered = learner.world_losses(batch(9))
    normals = [torch.distributions.Normal(*n) for n in (filtered.posterior, filtered.prior)]
    whole = torch.distributions.kl_divergence(*normals).sum(-1).mean()
    scaled = learner.scales()["kl"] * losses["kl"]
    cost = learner.multiplier.item() / learner.config.nats
    for told, factor in ((filtered.posterior, 1), (filtered.prior, 4)):  # which follows faster
        ours, plain = (
            torch.autograd.grad(x, told[0], retain_graph=True)[0] for x in (scaled, whole)
        )
        torch.testing.assert_close(ours, factor * cost * plain)


def test_the_critic_is_tight_on_a_pair_where_a_bilinear_one_is_not():
    """Unit Gaussians with correlation .9: the best z' W e alone leaves out |z|^2 and |e|^2."""
    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = Critic(4, Sizes(1, 6, 4, 32, 3, 4))
    bilinear = [critic.key.weight, critic.key.bias]
    bounds = []
    for parameters in (bilinear, list(critic.parameters())):
        with torch.no_grad():
            for name in ("of_state", "of_key"):
                for weight in getattr(critic, name)[-1].parameters():
                    weight.zero_()
        adam, found = torch.optim.Adam(parameters, lr=3e-3), []
        for _ in range(700):
            z = torch.randn(256, 4, generator=rng)
            codes = 0.9 * z + math.sqrt(1 - 0.81) * torch.randn(256, 4, generator=rng)
            loss = -nwj(critic(z, codes))
            adam.zero_grad()
            loss.backward()
            adam.step()
            found.append(-loss.item())
        bounds.append(np.mean(found[-100:]))
    information = -2 * math.log(1 - 0.81)
    assert bounds[0] < 0.45 * information < 0.6 * information < bounds[1]


def test_bounds_are_of_long_numbers_where_products_are_short(monkeypatch):
    kinds = []
    monkeypatch.setattr(
        "robolearn.algos.infopower.nwj", lambda logits: kinds.append(logits.dtype) or logits.mean()
    )
    trained(replace(CONFIG, precision="bfloat16"), updates=1)
    assert kinds == [torch.float32]


def test_the_constraint_is_the_sum_of_shares():
    learner, _ = trained(updates=0)
    config = learner.config
    guess = learner.world.critics.guess.item()
    known = A * log_cap() + guess
    all_met = learner.slack(
        torch.tensor(config.nats),
        torch.tensor(guess - config.inverse_aim * known),
        torch.tensor(1 - config.reward_aim),
    )
    assert all_met.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("more", [{"inverse": -0.9}, {"reward": -0.15}])
def test_what_is_told_beyond_its_aim_makes_up_for_no_divergence(more):
    learner, _ = trained(updates=0)
    config, known = learner.config, learner.knowable.item()
    aimed = {
        "kl": 2 * config.nats,
        "inverse": learner.world.critics.guess.item() - config.inverse_aim * known,
        "reward": 1 - config.reward_aim,
    }

    def slack(terms):
        return learner.slack(**{name: torch.tensor(value) for name, value in terms.items()}).item()

    assert slack(aimed) == pytest.approx(-1, abs=1e-5)
    beyond, short = ({n: v + way * more.get(n, 0) for n, v in aimed.items()} for way in (1, -1))
    assert slack(beyond) == pytest.approx(-1, abs=1e-5)
    assert slack(short) < -1.05


def test_knowing_nothing_of_the_action_is_a_share_of_0_and_the_cap_is_1():
    learner, _ = trained(updates=0)
    rows = batch() | {
        "actions": torch.randn(B, T, A, generator=torch.Generator().manual_seed(0))
        * torch.tensor([0.3, 0.6])
        + 0.2
    }
    learner.world.critics.follow(rows)
    acted = rows["actions"][~rows["is_first"]]
    blind = torch.distributions.Normal(acted.mean(dim=0), acted.std(dim=0, correction=0))
    nothing = -blind.log_prob(acted).sum(dim=-1).mean()
    torch.testing.assert_close(learner.world.critics.guess, nothing)
    assert learner.inverse_share(nothing).item() == pytest.approx(0, abs=1e-6)
    assert learner.inverse_share(torch.tensor(-A * log_cap())).item() == pytest.approx(1)
    info, _ = learner.learn_world(rows)
    assert info["inverse_share"] == pytest.approx(
        (nothing.item() - info["inverse_loss"]) / (nothing.item() + A * log_cap()), abs=1e-4
    )
    learner.world.critics.follow(rows | {"is_first": torch.ones(B, T, dtype=torch.bool)})
    assert torch.isfinite(learner.world.critics.guess)


def test_rewards_that_are_all_0_count_in_units_of_rare_ones():
    learner, _ = trained(updates=0)
    rows = batch() | {"rewards": torch.zeros(B, T)}
    learner.world.critics.follow(rows)
    losses, filtered = learner.world_losses(rows)
    told = learner.world.reward(filtered.belief.features)[..., 0][~rows["is_first"]]
    torch.testing.assert_close(losses["reward"], told.square().mean() / 0.1**2)
    info, _ = learner.learn_world(rows)
    assert info["reward_loss"] < 100 and info["world_gradient"] < 300  # 100 is not clipped


def test_rewards_are_told_in_shares_of_their_running_variance():
    learner, _ = trained(updates=0)
    generator = torch.Generator().manual_seed(0)
    wide = batch() | {"rewards": 4 * torch.rand(B, T, generator=generator)}
    learner.world.critics.follow(wide)
    within = wide["rewards"][~wide["is_first"]]
    variance = learner.world.critics.reward_variance
    torch.testing.assert_close(variance, within.var(correction=0))
    none = batch() | {"rewards": torch.zeros(B, T)}
    learner.world.critics.follow(none)
    both = torch.cat([within, none["rewards"][~none["is_first"]]])  # not this batch's alone
    torch.testing.assert_close(learner.world.critics.reward_variance, both.var(correction=0))


@pytest.mark.parametrize(("bound", "formula"), [("nwj", nwj), ("nce", info_nce)])
def test_the_losses_are_the_terms_of_the_lagrangian(bound, formula):
    learner, _ = trained(replace(CONFIG, bound=bound))
    rows = batch(9)
    losses, filtered = learner.world_losses(rows)
    z, critics = filtered.belief.z, learner.world.critics
    codes = learner.world.code(learner.images(rows["observations"]))
    z, keys = z.flatten(0, 1), critics.critic.key(codes.flatten(0, 1))
    alone = critics.critic.of_state(z), critics.critic.of_key(keys)
    logits = torch.einsum("iz,jz->ij", z, keys) + alone[0] + alone[1].T
    z = filtered.belief.z
    torch.testing.assert_close(losses["information"], -formula(logits))
    normals = [torch.distributions.Normal(*n) for n in (filtered.posterior, filtered.prior)]
    kl = torch.distributions.kl_divergence(*normals).sum(-1).mean()
    torch.testing.assert_close(losses["kl"], kl)
    prior = learner.world.rssm.expect[0].weight
    ours, whole = (torch.autograd.grad(x, prior, retain_graph=True)[0] for x in (losses["kl"], kl))
    torch.testing.assert_close(ours, learner.config.kl_balance * whole)
    torch.testing.assert_close(losses["inverse"], -learner.told_of_action(z, rows))
    config, multiplier = learner.config, learner.multiplier.item()
    assert learner.scales()["inverse"] == pytest.approx(
        multiplier * config.inverse_weight / (critics.guess + A * log_cap()).item()
    )


def test_terms_are_weighted_by_the_multiplier_and_told_by_name():
    learner, infos = trained()
    names = {"information", "kl", "inverse", "reward", "going_on"}
    assert learner.scales().keys() == names
    others = {"multiplier", "slack", "inverse_to_cap", "inverse_share", "bonus"}
    assert {f"{name}_loss" for name in names} | others < infos[0].keys()
    with torch.no_grad():
        learner.network["multiplier"].log.fill_(1.0)
    scales, multiplier = learner.scales(), learner.multiplier.item()
    assert scales["kl"] == pytest.approx(multiplier / 15 / 0.2) and scales["information"] == 1
    learner.config = replace(CONFIG, constrained=False)
    assert learner.multiplier.item() == 1
    assert infos[0]["inverse_to_cap"] > 0


def test_empowerment_is_part_of_the_imagined_reward_and_clipped():
    learner, _ = trained()
    g = torch.Generator().manual_seed(0)
    dream = learner.imagine(Belief(torch.randn(5, 6, generator=g), torch.randn(5, 4, generator=g)))
    plain = learner.world.reward(dream.features[1:])[..., 0]
    gain = learner.log_q(dream.z[:-1], dream.z[1:], dream.actions) - dream.log_pi
    torch.testing.assert_close(learner.imagined_rewards(dream), plain + 0.1 * gain.clamp(-4, 4))
    learner.config = replace(CONFIG, bonus_clip=1e-3)
    assert (learner.imagined_rewards(dream) - plain).abs().max() <= 0.1 * A * 1e-3 + 1e-6
    learner.config = replace(CONFIG, bonus_weight=0.0)
    assert torch.equal(learner.imagined_rewards(dream), plain)


def test_settings_of_dreamer_that_would_do_nothing_are_refused():
    names = {field.name for field in fields(CONFIG)}
    assert "kl_balance" in names and not names & {"kl_weight", "free_nats"}
    with pytest.raises(UserError, match="unknown key 'infopower.kl_weight'"):
        launch.read(launch.find("infopower_offline"), ("infopower.kl_weight=1",)).settings()
    with pytest.raises(UserError, match="decoded: nothing is drawn unless draws is true"):
        replace(CONFIG, decoded=5)


@pytest.mark.parametrize("bound", ["nce", "nwj"])
def test_the_contrastive_variant_is_a_configuration(bound):
    config = replace(CONFIG, bound=bound, inverse_weight=0.0, bonus_weight=0.0, constrained=False)
    learner, infos = trained(config, updates=3)
    assert learner.scales()["inverse"] == 0 and learner.world.decoder is None
    assert all(math.isfinite(value) for info in infos for value in info.values())


def test_a_decoder_beside_changes_nothing_else():
    drawing, infos = trained(replace(CONFIG, draws=True, decoded=5), updates=3)
    learner, plain = trained(updates=3)
    for name, weight in learner.state_dict().items():
        assert torch.equal(weight, drawing.state_dict()[name]), name
    assert [{k: v for k, v in info.items() if k != "image_loss"} for info in infos] == plain
    assert learner.decoder is None
    before = [p.detach().clone() for p in drawing.decoder.parameters()]
    believed = drawing.believe(batch()).features
    grey = torch.full((B, T, 3, 64, 64), 0.3)
    lots = torch.Generator().manual_seed(0)
    loss = drawing.learn_to_draw(believed, grey, lots)
    drawn = drawing.network["decoder"]
    assert all((p != b).any() for p, b in zip(drawn.parameters(), before, strict=True))
    for _ in range(10):
        late = drawing.learn_to_draw(believed, grey, lots)
    assert late < 0.98 * loss
    pictures = drawing.draw(believed)
    assert pictures.shape == (B, T, 64, 64, 3) and pictures.dtype == np.uint8


def test_the_moments_to_draw_are_exactly_as_many_as_said_and_drawn_by_lot():
    learner = InfoPower(SPEC, replace(CONFIG, draws=True, decoded=5))
    drawn = []
    learner.drawing_loss = lambda features, images, some: (
        drawn.append(some.tolist()) or sum(p.sum() for p in learner.decoder.parameters())
    )
    for i in range(20):
        learner.learn_world(batch(i))
    assert all(len(set(some)) == 5 for some in drawn)  # every second of 12 would be 6
    assert {place for some in drawn for place in some} == set(range(B * T))


@pytest.mark.parametrize("draws", [False, True])
def test_a_checkpoint_goes_on_bit_for_bit(tmp_path, draws):
    learner, _ = trained(replace(CONFIG, draws=draws))
    checkpoint.save(tmp_path / "infopower", learner, {"rounds": 3})
    restored = checkpoint.load_learner(tmp_path / "infopower", SPEC).learner
    assert restored.config == replace(CONFIG, draws=draws)
    assert learner.world.critics.rewarded.count > 0
    for i in range(2):
        assert learner.update(batch(i)) == restored.update(batch(i))
    for name, weight in learner.state_dict().items():
        assert torch.equal(weight, restored.state_dict()[name]), name
