"""SLIM against PPO, against itself in other units, and on a point that skills must spread."""

import numpy as np
import pytest
import torch

from robolearn.algos import slim as slim_module
from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.algos.slim import SLIM, SLIMConfig, prior
from robolearn.errors import DataError, SpecError, UserError
from robolearn.loops import checkpoint
from robolearn.loops.on_policy import OnlineConfig, online
from robolearn.networks.functional import gae
from robolearn.rewards.base import SkillConfig
from robolearn.rewards.skill import DIAYN
from robolearn.skills.env import SkillEnv
from robolearn.types import ArraySpec, Learner, Spec

T, N = 12, 6  # steps, environments
NAMES = ("point_x", "point_y", "skill_1", "skill_2")
INTERFACE = Spec("test/Point", {"state": ArraySpec((4,), names=NAMES)}, ArraySpec((2,)), 0.1)
NETWORK = {
    "widths": (16,), "initial_std": 0.5, "gamma": 0.97, "entropy_weight": 0.006, "minibatch": 24,
    "epochs": 3, "learning_rate": 3e-4, "target_kl": None,
}  # fmt: skip
METRIC = {"discovery": "metric", "skill": {"entries": ["point"], "weights": [1.0, 1.0]}}
TERMS = {"near": {"near": 1.0}, "safety": {"fast": -1.0, "far": -0.5}}
THREE = {"near": 1.0, "discovery": 2.0, "safety": 0.5}


pytestmark = pytest.mark.usefixtures("one_thread")


def config(**changes) -> SLIMConfig:
    return SLIMConfig(**{**NETWORK, **METRIC, "terms": TERMS, "weights": THREE, **changes})


def rollout(learner, seed=0):
    """Give a rollout of the learner's own actions, in which a point goes where it is pushed."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    ended = torch.rand(T, N, generator=generator) < 0.2
    skills = torch.nn.functional.normalize(torch.randn(N, 2, generator=generator), dim=-1)
    point = torch.from_numpy(rng.normal(size=(N, 2)).astype(np.float32))
    steps = []
    for _ in range(T):
        state = torch.cat([point, skills], dim=1)
        action = torch.from_numpy(learner.sample({"state": state.numpy()}))
        point = point + 0.1 * action
        steps.append((state, torch.cat([point, skills], dim=1), action))
    state, reached, actions = (torch.stack(parts) for parts in zip(*steps, strict=True))
    near = torch.exp(-reached[..., :2].norm(dim=-1))
    terms = {
        "near": near,
        "fast": (actions.abs().amax(dim=-1) > 1).float(),
        "far": (reached[..., 0].abs() > 2).float(),
    }
    return {
        "observations": {"state": state},
        "next_observations": {"state": reached},
        "actions": actions,
        "rewards": near,
        "reward_terms": terms,
        "terminated": ended & (torch.rand(T, N, generator=generator) < 0.5),
        "ended": ended,
    }


def trained(learner, rollouts=3):
    """Let a learner see rollouts; give its weights, the value heads' apart, and what it logged."""
    infos = [learner.update(rollout(learner, i)) for i in range(rollouts)]
    parameters = learner.network.named_parameters()
    return {k: p.detach() for k, p in parameters if not k.startswith("value")}, infos


def slim(**changes) -> SLIM:
    return SLIM(INTERFACE, config(**changes), seed=1)


def difference(ours, theirs) -> float:
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


def test_with_one_reward_it_is_ppo():
    one = slim(weights={"near": 1.0})
    ppo = PPO(INTERFACE, PPOConfig(**NETWORK), seed=1)
    (ours, our_infos), (theirs, their_infos) = trained(one), trained(ppo)
    assert difference(ours, theirs) < 1e-6
    for name in ("surrogate", "value_loss", "kl", "gradient_norm"):
        assert [i[name] for i in our_infos] == pytest.approx([i[name] for i in their_infos])
    torch.testing.assert_close(one.network.value.linear.weight, ppo.network.value.linear.weight)


@pytest.mark.parametrize("stream", ["near", "discovery", "safety"])
@pytest.mark.parametrize("unit", [0.1, 10.0])
def test_the_unit_of_a_reward_changes_the_update_of_a_single_critic_only(stream, unit):
    each, _ = trained(slim())
    scaled, infos = trained(slim(units={stream: unit}))
    moved = difference(each, trained(slim(), 1)[0])
    assert difference(each, scaled) < 1e-3 * moved
    assert sum(infos[-1][f"gradient_share/{name}"] for name in THREE) == pytest.approx(1.0)
    together, _ = trained(slim(critics="sum"))
    scaled, _ = trained(slim(critics="sum", units={stream: unit}))
    assert difference(together, scaled) > 0.05 * moved


@pytest.mark.parametrize("stream", ["near", "discovery", "safety"])
@pytest.mark.parametrize("unit", [0.125, 8.0])
def test_where_nothing_is_rounded_the_unit_of_a_reward_changes_no_bit(stream, unit):
    (ours, _), (theirs, _) = trained(slim()), trained(slim(units={stream: unit}))
    assert difference(ours, theirs) == 0.0


def test_the_weight_of_a_reward_changes_the_update():
    ours, _ = trained(slim())
    theirs, _ = trained(slim(weights={**THREE, "discovery": 4.0}))
    assert difference(ours, theirs) > 1e-3


def test_advantages_are_standardised_by_themselves_then_weighted_and_added():
    learner = slim()
    trained(learner)
    data = rollout(learner, 9)
    batch = {**data, "skills": data["observations"]["state"][..., 2:]}
    data["rewards"] = rewards = learner.rewards(batch)  # [T, N, K]
    terms, path = data["reward_terms"], data["next_observations"]["state"][..., :2]
    change = path - data["observations"]["state"][..., :2]
    torch.testing.assert_close(rewards[..., 0], terms["near"])
    torch.testing.assert_close(rewards[..., 1], (change * batch["skills"]).sum(-1))
    torch.testing.assert_close(rewards[..., 2], -terms["fast"] - 0.5 * terms["far"])
    values = learner.network.values(data["observations"]["state"])
    reached = learner.network.values(data["next_observations"]["state"])
    expected, scales, unexplained = 0.0, [], []
    for k, weight in enumerate(THREE.values()):
        advantage = gae(
            rewards[..., k], values[..., k], reached[..., k],
            data["terminated"], data["ended"], 0.97, 0.95,
        ).detach()  # fmt: skip
        scales.append(advantage.std().item())
        unexplained.append((advantage.var() / (advantage + values[..., k]).var()).item())
        expected += weight * (advantage - advantage.mean()) / advantage.std(correction=0)
    rows, info = learner.prepare(data)
    torch.testing.assert_close(rows["advantage"], expected.flatten(), rtol=1e-4, atol=1e-4)
    assert [info[f"advantage_scale/{k}"].item() for k in THREE] == pytest.approx(scales, rel=1e-3)
    explained = [info[f"explained_variance/{k}"].item() for k in THREE]
    assert explained == pytest.approx(1 - np.array(unexplained), rel=1e-3)
    for name, means in (("reward", rewards.mean((0, 1))), ("value", values.mean((0, 1)))):
        assert [info[f"{name}/{k}"].item() for k in THREE] == pytest.approx(means.tolist())


def test_one_critic_of_all_earns_the_weighted_sum_in_the_units_given():
    learner = slim(critics="sum", units={"near": 3.0})
    data = rollout(learner)
    parts = slim().rewards({**data, "skills": data["observations"]["state"][..., 2:]})
    rewards = learner.rewards({**data, "skills": data["observations"]["state"][..., 2:]})
    expected = 3.0 * parts[..., 0] + 2.0 * parts[..., 1] + 0.5 * parts[..., 2]
    torch.testing.assert_close(rewards, expected[..., None])
    info = learner.update(data)
    assert {name for name in info if "/" in name} == {
        f"{what}/sum" for what in
        ("reward", "value", "explained_variance", "advantage_scale", "gradient_share")
    }  # fmt: skip
    rows, _ = learner.prepare({**data, "rewards": rewards})
    assert rows["advantage"].square().mean().item() == pytest.approx(1.0)  # of weight 1


def test_nothing_earned_is_explained_and_pulls_at_nothing():
    learner = slim(weights={"near": 1.0, "safety": 1.0})
    data = rollout(learner)
    data["rewards"] = torch.zeros(T, N, 2)
    _, info = learner.prepare(data)
    for name in ("near", "safety"):
        assert info[f"explained_variance/{name}"].item() == 1.0
        assert info[f"gradient_share/{name}"].item() == 0.0


def test_shares_of_the_gradient_are_measured_on_some_rows_from_first_to_last(monkeypatch):
    learner = slim()
    data = rollout(learner)
    batch = {**data, "skills": data["observations"]["state"][..., 2:]}
    rows, _ = learner.prepare({**data, "rewards": learner.rewards(batch)})
    five = {name: array[:5] for name, array in rows.items()}
    expected = learner.gradient_shares({name: array[[0, 2, 4]] for name, array in five.items()})
    assert not torch.allclose(learner.gradient_shares(five), expected)
    monkeypatch.setattr(slim_module, "SHARE_ROWS", 3)
    torch.testing.assert_close(learner.gradient_shares(five), expected)


def test_shares_of_a_small_gradient_are_those_of_a_large_one():
    learner = slim()
    data = rollout(learner)
    batch = {**data, "skills": data["observations"]["state"][..., 2:]}
    rows, _ = learner.prepare({**data, "rewards": learner.rewards(batch)})
    small = learner.gradient_shares({**rows, "weighted": 1e-4 * rows["weighted"]})
    torch.testing.assert_close(small, learner.gradient_shares(rows))


def test_streams_know_their_names_and_the_seed_is_0_if_none_is_given():
    learner, same = SLIM(INTERFACE, config()), SLIM(INTERFACE, config(), 0)
    assert [stream.name for name, stream in learner.streams.items() if name != "discovery"] == [
        "near",
        "safety",
    ]
    ours, theirs = learner.state_dict(), same.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_learned_stream_is_drawn_from_a_seed_of_its_own():
    skill = {"entries": ["point"], "skills": 2, "widths": [8]}
    learner = slim(discovery="diayn", skill=skill)  # of seed 1
    own = int(np.random.SeedSequence([1, 1]).generate_state(1)[0])
    alike = DIAYN(INTERFACE, SkillConfig(**skill), own)
    found = learner.streams["discovery"].state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in alike.state_dict().items())


def test_skills_come_from_the_prior_of_the_discovery():
    generator = torch.Generator().manual_seed(0)
    for discovery, length in (("lsd", None), ("metra", None), ("diayn", 1.0), ("metric", None)):
        skill = METRIC["skill"] if discovery == "metric" else {"entries": ["point"], "skills": 2}
        draw = prior(config(discovery=discovery, skill=skill))
        z = draw.draw(5, generator)
        assert draw.size == 2 and z.shape == (5, 2)
        torch.testing.assert_close(z.norm(dim=-1), torch.ones(5))
        assert (z.amax(dim=-1) == 1.0).all() == (length is not None)  # one-hot, or a direction


def test_shares_of_the_gradient_are_those_of_its_parts():
    learner = slim()
    trained(learner)
    data = rollout(learner, 9)
    batch = {**data, "skills": data["observations"]["state"][..., 2:]}
    rows, info = learner.prepare({**data, "rewards": learner.rewards(batch)})
    norms = []
    for part in rows["weighted"].unbind(-1):
        learner.network.zero_grad()
        mean, log_std, _ = learner.network(rows["state"])
        pi = torch.distributions.Normal(mean, log_std.exp())
        (part * pi.log_prob(rows["action"]).sum(-1)).mean().backward()
        parts = [*learner.network.trunk.parameters(), *learner.network.mean.parameters()]
        norms.append(torch.cat([p.grad.flatten() for p in parts]).norm().item())
    shares = [info[f"gradient_share/{name}"].item() for name in THREE]
    assert shares == pytest.approx(np.array(norms) / sum(norms), rel=1e-4)


def test_a_learned_stream_learns_before_it_rewards():
    skill = {"entries": ["point"], "skills": 2, "steps": 4, "widths": [8]}
    learner = slim(discovery="lsd", skill=skill, weights={"discovery": 1.0})
    data = rollout(learner)
    batch = {**data, "skills": data["observations"]["state"][..., 2:]}
    before = learner.rewards(batch).mean()
    info = learner.update(data)
    assert info["reward/discovery"] == pytest.approx(learner.rewards(batch).mean().item())
    assert info["reward/discovery"] > before.item() and "discovery/change" in info


@pytest.mark.parametrize("discovery", ["lsd", "metra", "diayn", "metric"])
def test_a_checkpoint_acts_and_goes_on_the_same(tmp_path, discovery):
    skill = {"entries": ["point"], "skills": 2, "steps": 4, "widths": [8]}
    skill = METRIC["skill"] if discovery == "metric" else skill
    learner = slim(discovery=discovery, skill=skill)
    assert isinstance(learner, Learner)
    trained(learner)
    checkpoint.save(tmp_path / "slim", learner, {"updates": 3})
    restored = checkpoint.load_learner(tmp_path / "slim", INTERFACE).learner
    assert restored.config.weights == learner.config.weights
    state = {"state": np.ones((2, 4), np.float32)}
    np.testing.assert_array_equal(learner.act(state), restored.act(state))
    infos = [one.update(rollout(one, 9)) for one in (learner, restored)]
    assert infos[0] == infos[1]


def test_weights_of_another_discovery_are_refused():
    skill = {"entries": ["point"], "skills": 2}
    with pytest.raises(DataError, match="another network"):
        slim(discovery="lsd", skill=skill).load_state_dict(slim().state_dict())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": {"rech": 1.0}}, "^weights: no stream 'rech'; known: discovery, near, safety$"),
        (
            {"terms": {"discovery": {"near": 1.0}}},
            "^terms: 'discovery' is taken, by what rewards skills$",
        ),
        ({"units": {"nea": 1.0}}, "units: no stream 'nea'; did you mean 'near'"),
        ({"weights": {}}, "weights should have 1 or more entries"),
        ({"weights": {"near": -1.0}}, "weights.near should be greater than 0, not -1"),
        ({"units": {"near": 0.0}}, "units.near should be greater than 0"),
        ({"discovery": "lds"}, "discovery should be 'lsd', .* not 'lds'"),
        ({"critics": "two"}, "critics should be 'each' or 'sum'"),
        ({"skill": {"weigths": [1.0]}}, "^skill: 'metric' has no setting 'weigths'; did you"),
        (
            {"discovery": "lsd", "skill": {"skills": "two"}},
            r"^skill\.skills should be a valid int",
        ),
        ({"gamma": 2.0}, "gamma should be less than or equal to 1"),
    ],
)
def test_settings_that_cannot_be_are_named(changes, said):
    with pytest.raises(UserError, match=said):
        config(**changes)


def test_a_state_without_a_skill_is_refused():
    bare = Spec("bare", {"state": ArraySpec((2,), names=NAMES[:2])}, ArraySpec((2,)), 0.1)
    with pytest.raises(SpecError, match="skill"):
        SLIM(bare, config())


# it learns


class Points:
    """N points that begin near the origin; actions move them by a tenth; 10 steps an episode."""

    def __init__(self, n: int) -> None:
        names = ("point_x", "point_y")
        self.interface = Spec(
            "test/Points", {"state": ArraySpec((2,), names=names)}, ArraySpec((2,)), 0.1
        )
        self.num_envs, self.horizon, self.rng = n, None, np.random.default_rng(0)
        self.points, self.steps = np.zeros((n, 2)), np.zeros(n)

    def reset(self, *, seed=None, options=None):
        if options:
            self.points, self.steps = options["state"][:, :2], options["state"][:, 2]
        else:
            self.points, self.steps = self.rng.normal(0, 0.05, (self.num_envs, 2)), 0 * self.steps
        return self._observe(), {}

    def step(self, actions, active=None, *, autoreset=True):
        self.points, self.steps = self.points + 0.1 * actions, self.steps + 1
        near = np.exp(-np.abs(self.points).sum(1))
        terms = {"near": near, "fast": 0 * near, "far": 0 * near}
        info = {"success": near > 0.5, "reward_terms": terms}
        over, last = self.steps >= 10, self._observe()["state"]
        if over.any():
            info["final_obs"] = np.array([{"state": row} for row in last])
            self.points[over], self.steps[over] = 0.0, 0
        return self._observe(), near, np.zeros(self.num_envs, bool), over, info

    def get_state(self):
        return np.column_stack([self.points, self.steps])

    def close(self):
        pass

    def _observe(self):
        return {"state": self.points.astype(np.float32)}


@pytest.mark.parametrize("discovery", ["metric", "lsd"])
def test_skills_spread(discovery):
    skill = (
        METRIC["skill"]
        if discovery == "metric"
        else {"entries": ["point"], "skills": 2, "steps": 8}
    )
    settings = config(
        discovery=discovery, skill=skill, weights={"near": 0.3, "discovery": 1.0},
        target_kl=0.02, widths=(32,), minibatch=160, learning_rate=3e-3,
    )  # fmt: skip
    draw = prior(settings)
    env = SkillEnv(Points(32), draw.size, draw.draw)
    learner = SLIM(env.interface, settings, seed=0)
    online(learner, env, OnlineConfig(32 * 20 * 20, 20), seed=0)
    angles = 2 * np.pi * np.arange(24) / 24
    skills = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    at, path = np.zeros((24, 2), np.float32), []
    for _ in range(10):
        action = learner.act({"state": np.concatenate([at, skills], axis=1)})
        at = at + 0.1 * action
        path.append(at)
    distance = np.linalg.norm(at, axis=1)
    assert np.median(distance) > 0.6
    if discovery == "metric":  # a learned phi may turn and mirror the plane
        assert np.median((at * skills).sum(1) / distance) > 0.9
    gaps = np.linalg.norm(at[:, None] - at[None], axis=-1)
    assert gaps.max() > 1.2  # they do not all go one way
