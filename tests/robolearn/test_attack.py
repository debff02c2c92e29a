"""Budgets, and environments that show perturbed states; physics is a point on a plane."""

from itertools import product

import numpy as np
import pytest
import torch

from robolearn.attack import Attacked, Handover, require_victim
from robolearn.errors import DataError, SpecError, UserError
from robolearn.loops.rollout import Job, rollout, rollouts
from robolearn.networks.functional import Gaussian
from robolearn.perturbed import PerturbedEnv, PerturbedVectorEnv
from robolearn.state_attack import Budget, BudgetConfig, RandomPerturbation
from robolearn.types import ArraySpec, Spec

NAMES = ("hand_x", "hand_y", "goal_x", "goal_y", "fixed")
SPEC = ArraySpec((5,), names=NAMES)
NORMS, UNITS = ("linf", "l2"), ("std", "raw")
ROUNDING = 1 + 1e-5


class Point:
    """A hand moves by a tenth of the action; it succeeds where x is 1 or more."""

    interface = Spec("test/Point", {"state": SPEC}, ArraySpec((2,)), period_s=0.1)
    horizon = None

    def reset(self, *, seed=None, options=None):
        self.hand = np.random.default_rng(seed).uniform(-0.5, 0.5, 2)
        if options:
            self.hand = options["state"].copy()
        return self._observe(), {}

    def step(self, action):
        self.hand += 0.1 * np.asarray(action, np.float64)
        info = {"success": bool(self.hand[0] >= 1), "reward_terms": {"x": float(self.hand[0])}}
        return self._observe(), float(self.hand[0]), False, False, info

    def get_state(self):
        return self.hand.copy()

    def set_state(self, state):
        self.hand = state.copy()
        return self._observe()

    def close(self):
        pass

    def _observe(self):
        return {"state": np.array([*self.hand, 1.0, 0.0, 7.0], np.float32)}


class Seeker:
    """A victim: goes from the hand that it sees to the goal that it sees."""

    memoryless, name = True, "seeker"

    def reset(self, n):
        pass

    def distribution(self, state):
        mean = state[..., 2:4] - state[..., :2]
        return Gaussian(mean, torch.full_like(mean, -1.0), squashed=False)

    def act(self, observation, explore=False):
        return self.distribution(torch.from_numpy(observation["state"])).mean.clamp(-1, 1).numpy()


class Shifts:
    """Asks for more than any budget has, in every entry."""

    memoryless = True

    def __call__(self, state, generator):
        return torch.full_like(state, 9.0)


def observations(seed=0, rows=50):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, 5)) * rng.uniform(0.1, 3, 5)
    table[:, 4] = 7.0  # never varies
    return table.astype(np.float32)


def budget(seed=0, mask=None, **config):
    return Budget.of(BudgetConfig(**config), SPEC, observations(seed), mask)


def budgets():
    """List budgets of all kinds, each with numbers of its own."""
    found = []
    for seed, (norm, unit, masked) in enumerate(product(NORMS, UNITS, (False, True))):
        rng = np.random.default_rng(seed)
        mask = np.append(rng.permutation([True, True, False, False]), True) if masked else None
        size = float(rng.uniform(0.01, 2))
        name = f"{norm}-{unit}-{'masked' if masked else 'all'}"
        one = budget(seed, mask, size=size, norm=norm, unit=unit)
        found.append(pytest.param(one, seed, id=name))
    return found


def within(budget, delta, spread, mask):
    """Say whether delta [B, O] is in the budget, from the definition."""
    shares = np.abs(delta[:, mask] / spread[mask]).astype(np.float64)
    size = shares.max(axis=1) if budget.norm == "linf" else np.sqrt((shares**2).sum(axis=1))
    return (size <= ROUNDING).all() and not delta[:, ~mask].any()


@pytest.mark.parametrize(("budget", "seed"), budgets())
def test_no_perturbation_leaves_the_budget(budget, seed):
    generator = torch.Generator().manual_seed(seed)
    radius = budget.radius.numpy()
    for scale in (1e-30, 1e-2, 1.0, 1e3, 1e30):
        x = scale * torch.randn(200, 5, generator=generator)
        made = [
            budget.project(x),
            budget.squash(x),
            budget.steepest(x),
            budget.draw(200, generator),
        ]
        for delta in made:
            assert torch.isfinite(delta).all()
            assert within(budget, delta.numpy(), radius, radius > 0)
            assert (budget.measure(delta) <= ROUNDING).all()
        assert (budget.measure(made[2]) > 0.99).all()  # the steepest is at its edge


def test_zero_is_no_direction():
    for norm in NORMS:
        one, nothing = budget(norm=norm), torch.zeros(1, 5)
        for delta in (one.project(nothing), one.squash(nothing), one.steepest(nothing)):
            assert delta.tolist() == [[0] * 5]


@pytest.mark.parametrize(("budget", "seed"), budgets())
def test_projecting_leaves_what_is_inside_and_goes_to_the_nearest_edge(budget, seed):
    generator = torch.Generator().manual_seed(seed)
    inside = budget.draw(50, generator)
    torch.testing.assert_close(budget.project(inside), inside)
    outside = 3 * torch.randn(50, 5, generator=generator) * (1 + budget.radius)
    nearest, scale = budget.project(outside), budget.radius.clamp(min=1e-9)
    for other in budget.draw(20, generator):  # none of the budget is nearer, in its own unit
        far, near = (
            ((outside - d) / scale)[:, budget.touched].norm(dim=1) for d in (other, nearest)
        )
        assert (near <= far * ROUNDING).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_steepest_has_the_largest_inner_product(norm):
    one, generator = budget(norm=norm), torch.Generator().manual_seed(0)
    slope = torch.randn(5, generator=generator)
    best = (one.steepest(slope) * slope).sum()
    assert best > 0 and (best * ROUNDING >= one.draw(500, generator) @ slope).all()


def test_draws_fill_the_budget():
    generator = torch.Generator().manual_seed(0)
    for norm, share in (("linf", 0.5**4), ("l2", 0.5**4)):  # half the size in four dimensions
        inner = (
            budget(norm=norm).measure(budget(norm=norm).draw(20_000, generator)) <= 0.5
        ).float()
        assert inner.mean().item() == pytest.approx(share, abs=0.01)


def test_units_by_hand():
    std = observations().astype(np.float64).std(axis=0)
    np.testing.assert_allclose(budget(size=0.3).radius[:4], 0.3 * std[:4], rtol=1e-5)
    assert budget(size=0.3, unit="raw").radius.tolist() == pytest.approx([0.3] * 4 + [0])


def test_what_never_varies_is_left_alone_unless_asked_for():
    assert budget().touched.tolist() == [True] * 4 + [False]
    assert budget(unit="raw", constant=True).touched.tolist() == [True] * 5
    with pytest.raises(UserError, match="use unit: raw"):
        BudgetConfig(constant=True)


def test_entries_go_by_name():
    assert budget(entries=["goal"]).touched.tolist() == [False, False, True, True, False]
    with pytest.raises(SpecError, match="budget.entries: .* did you mean 'goal'"):
        budget(entries=["gaol"])
    with pytest.raises(UserError, match="no entry is left"):
        budget(entries=["fixed"])
    with pytest.raises(SpecError, match=r"mask of shape \(3,\)"):
        budget(mask=np.ones(3, bool))


@pytest.mark.parametrize("size", [0.0, -0.1, float("nan"), float("inf")])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(UserError, match="^size should be"):
        BudgetConfig(size=size)
    with pytest.raises(UserError, match="radius should be greater than 0"):
        Budget(SPEC, "l2", torch.full((5,), size))


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match=r"\(50, 4\) instead of \[M, 5\]"):
        Budget.of(BudgetConfig(), SPEC, observations()[:, :4])
    with pytest.raises(DataError, match="not finite"):
        Budget.of(BudgetConfig(), SPEC, observations() * np.nan)
    with pytest.raises(UserError, match="'l1' should be"):
        Budget(SPEC, "l1", torch.ones(5))
    with pytest.raises(SpecError, match="radius of shape"):
        Budget(SPEC, "l2", torch.ones(4))
    for state, words in (
        (None, "shows no 'state'"),
        (ArraySpec((6,)), r"\(6,\) instead of \(5,\)"),
        (ArraySpec((5,), names=("hand_x", "hand_z", *NAMES[2:])), "entry 1 is 'hand_z' instead"),
    ):
        shown = {} if state is None else {"state": state}
        with pytest.raises(SpecError, match=words):
            budget().require(Spec("test/Other", shown, ArraySpec((2,)), 0.1))


def test_victims_need_a_distribution_and_gradients():
    class Blind(Seeker):
        def distribution(self, state):
            return super().distribution(torch.zeros_like(state))

    class Detached(Seeker):
        def distribution(self, state):
            return super().distribution(state.detach())

    class Stranger(Seeker):
        interface = Spec("test/Other", {"state": ArraySpec((7,))}, ArraySpec((2,)), 0.1)

    require_victim(Seeker(), Budget.unit(SPEC))
    with pytest.raises(SpecError, match=r"'seeker' sees a state \(7,\) instead of \(5,\)"):
        require_victim(Stranger(), Budget.unit(SPEC))
    with pytest.raises(UserError, match="victim 'Point': has no distribution"):
        require_victim(Point(), Budget.unit(SPEC))
    for victim in (Blind(), Detached()):
        with pytest.raises(UserError, match="no gradient .* reaches state"):
            require_victim(victim, Budget.unit(SPEC))


# environments


def walk(env, actions, seed=3):
    """Send actions; give states, observations, rewards and infos."""
    first, _ = env.reset(seed=seed)
    states, seen, rewards, infos = [env.get_state()], [first["state"]], [], []
    for action in actions:
        observation, reward, _, _, info = env.step(action)
        states.append(env.get_state())
        seen.append(observation["state"])
        rewards.append(reward)
        infos.append(info)
    return np.stack(states), np.stack(seen), np.array(rewards), infos


@pytest.mark.parametrize(("budget", "seed"), budgets())
@pytest.mark.parametrize("make", [RandomPerturbation, lambda budget: Shifts()])
def test_physics_and_rewards_are_the_true_ones(budget, seed, make):
    actions = np.random.default_rng(seed).uniform(-1, 1, (20, 2)).astype(np.float32)
    states, true, rewards, infos = walk(Point(), actions)
    attacked = walk(PerturbedEnv(Point(), make(budget), budget, Seeker()), actions)
    np.testing.assert_array_equal(attacked[0], states)
    np.testing.assert_array_equal(attacked[2], rewards)
    assert [i["success"] for i in attacked[3]] == [i["success"] for i in infos]
    delta, slack = attacked[1] - true, 1e-6 * (1 + np.abs(true))  # rounding of s + delta
    assert np.abs(delta).max() > 0
    shrunk = np.sign(delta) * np.maximum(np.abs(delta) - slack, 0)
    assert (budget.measure(torch.from_numpy(shrunk.astype(np.float32))) <= ROUNDING).all()
    for t, info in enumerate(attacked[3]):
        np.testing.assert_array_equal(info["attack"]["true"], true[t])
        np.testing.assert_array_equal(info["attack"]["seen"], attacked[1][t])
        np.testing.assert_array_equal(info["attack"]["action"], actions[t])
        unattacked = np.clip(true[t, 2:4] - true[t, :2], -1, 1)
        np.testing.assert_allclose(info["attack"]["unattacked"], unattacked, rtol=1e-6)


def test_the_seed_decides_the_perturbation():
    one = budget()
    env, actions = PerturbedEnv(Point(), RandomPerturbation(one), one), np.zeros((5, 2))
    first, again, other = (walk(env, actions, seed)[1] - walk(Point(), actions, seed)[1]
                           for seed in (3, 3, 4))  # fmt: skip
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other)[:, :4].min() > 0


def test_a_state_is_put_back_and_perturbed():
    one = budget(unit="raw", size=0.25)
    env = PerturbedEnv(Point(), Shifts(), one)
    env.reset(seed=0)
    seen = env.set_state(np.array([0.5, -0.5]))["state"]
    assert env.get_state().tolist() == [0.5, -0.5]
    assert seen.tolist() == [0.75, -0.25, 1.25, 0.25, 7.0]


@pytest.mark.parametrize("n", [1, 3])
def test_rows_of_a_batch_are_what_single_environments_give(together, n):
    one, heard, steps = budget(), [], []
    random = RandomPerturbation(one)
    envs = PerturbedVectorEnv(together([Point() for _ in range(n)]), random, one, Seeker())
    jobs = [Job(Seeker(), seed) for seed in range(5)]
    got = list(rollouts(envs, jobs, horizon=6, on_step=heard.append))
    for seed, (episode, _) in enumerate(got):
        single = PerturbedEnv(Point(), random, one, Seeker())
        alone = rollout(single, Seeker(), horizon=6, seed=seed, on_step=steps.append)
        for name in ("actions", "rewards", "states"):
            np.testing.assert_array_equal(getattr(episode, name), getattr(alone, name))
        np.testing.assert_array_equal(episode.observations["state"], alone.observations["state"])
    assert sorted(map(account, heard)) == sorted(map(account, steps))


def account(step):
    """Give what is said of the attack on a step, to be compared."""
    return sorted((name, array.tobytes()) for name, array in step.info["attack"].items())


def test_last_observations_of_a_batch_are_perturbed_too():
    class Ends:
        """A batch of one whose episodes take one step."""

        interface, num_envs, horizon = Point.interface, 1, 1

        def reset(self, *, seed=None, options=None):
            return {"state": np.zeros((1, 5), np.float32)}, {}

        def step(self, actions, active=None, *, autoreset=True):
            last = np.array([{"state": np.ones(5, np.float32)}], object)
            info = {"success": np.array([False]), "reward_terms": {}, "final_obs": last}
            return self.reset()[0], np.zeros(1), np.array([True]), np.array([False]), info

    one = budget(unit="raw", size=0.5)
    envs = PerturbedVectorEnv(Ends(), Shifts(), one)
    envs.reset(seed=[0])
    observations, *_, info = envs.step(np.zeros((1, 2), np.float32))
    assert observations["state"].tolist() == [[0.5] * 4 + [0]]
    assert info["final_obs"][0]["state"].tolist() == [1.5] * 4 + [1]
    assert info["attack"]["true"].tolist() == [[0] * 5]
    assert info["attack"]["seen"].tolist() == [[0.5] * 4 + [0]]
    assert "unattacked" not in info["attack"]


def test_parts_that_do_not_fit_are_refused():
    one = budget()

    class Other(Point):
        interface = Spec("test/Other", {"state": ArraySpec((6,))}, ArraySpec((2,)), 0.1)

    class Stranger(Seeker):
        interface = Spec("test/Point", {"state": ArraySpec((7,))}, ArraySpec((2,)), 0.1)

    with pytest.raises(SpecError, match="test/Other shows a state"):
        PerturbedEnv(Other(), Shifts(), one)
    with pytest.raises(SpecError, match="the victim"):
        PerturbedEnv(Point(), Shifts(), one, Stranger())


def test_a_perturbation_that_is_not_finite_is_refused():
    def broken(state, generator):
        return state * torch.nan

    with pytest.raises(UserError, match="not finite"):
        PerturbedEnv(Point(), broken, budget()).reset(seed=0)


# policies


def test_an_attacked_victim_acts_on_what_it_is_shown():
    one = budget(unit="raw", size=0.25, entries=["hand"])
    attacked = Attacked(Seeker(), Shifts(), one)
    state = np.array([[0.5, 0.0, 1.0, 0.0, 7.0]], np.float32)
    assert attacked.act({"state": state}).tolist() == [[0.25, -0.25]]
    assert attacked.memoryless and not Attacked(Seeker(), RandomPerturbation(one), one).memoryless


def test_one_hands_over_to_another_after_a_number_of_steps_of_its_own():
    class Says:
        def __init__(self, value):
            self.value = value

        def reset(self, n):
            pass

        def act(self, observation, explore=False):
            return np.full((len(observation["state"]), 1), self.value, np.float32)

    policy = Handover(Says(1), Says(0), horizon=4, rng=np.random.default_rng(0))
    policy.reset(500)
    steps = np.stack([policy.act({"state": np.zeros((500, 1))})[:, 0] for _ in range(6)])
    assert (np.diff(steps, axis=0) <= 0).all()  # and never back
    lengths, counts = np.unique(steps.sum(axis=0), return_counts=True)
    assert lengths.tolist() == [0, 1, 2, 3, 4] and counts.min() > 70
