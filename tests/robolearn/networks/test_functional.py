import math

import pytest
import torch
from torch.distributions import (
    Independent,
    Normal,
    TanhTransform,
    TransformedDistribution,
    kl_divergence,
)

from robolearn.errors import SpecError
from robolearn.networks.functional import (
    Gaussian,
    balanced_kl,
    gae,
    gaussian_entropy,
    gaussian_kl,
    gaussian_log_probability,
    lambda_return,
    polyak,
    standardise,
)

GAMMA, LAM = 0.9, 0.8


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def gaussian(generator, *shape):
    mean, log_std = (
        torch.randn(*shape, generator=generator),
        torch.randn(*shape, generator=generator),
    )
    return mean, log_std, Independent(Normal(mean, log_std.exp()), 1)


def test_gaussian_formulas_are_those_of_torch_distributions(generator):
    mean, log_std, ours = gaussian(generator, 2, 5, 3)
    q_mean, q_log_std, other = gaussian(generator, 2, 5, 3)
    x = torch.randn(2, 5, 3, generator=generator)
    torch.testing.assert_close(gaussian_log_probability(x, mean, log_std), ours.log_prob(x))
    torch.testing.assert_close(gaussian_entropy(log_std), ours.entropy())
    divergence = gaussian_kl(mean, log_std, q_mean, q_log_std)
    torch.testing.assert_close(divergence, kl_divergence(ours, other))


@pytest.mark.parametrize("squashed", [False, True])
def test_the_divergence_of_policies_is_what_samples_estimate(generator, squashed):
    """E_(a ~ p) [ log p(a) - log q(a) ], from torch's own densities of a."""
    p, q = (
        Gaussian(0.3 * torch.randn(2, generator=generator, dtype=torch.float64), log_std, squashed)
        for log_std in torch.tensor([[-1.0, -0.5], [-0.8, -0.9]], dtype=torch.float64)
    )
    through = [TanhTransform(cache_size=1)] if squashed else []
    ours, other = (
        TransformedDistribution(Independent(Normal(pi.mean, pi.log_std.exp()), 1), through)
        for pi in (p, q)
    )
    u = p.mean + p.log_std.exp() * torch.randn(200_000, 2, generator=generator).double()
    a = torch.tanh(u) if squashed else u
    drawn = ours.log_prob(a) - other.log_prob(a)
    error = drawn.std().item() / math.sqrt(len(drawn))
    assert p.kl(q).sum().item() == pytest.approx(drawn.mean().item(), abs=4 * error)
    assert p.kl(q).sum().item() > 20 * error  # the estimate tells it from none


def test_an_entry_of_the_divergence_by_hand():
    two, three = torch.tensor([2.0]).log(), torch.tensor([3.0]).log()
    p = Gaussian(torch.tensor([1.0]), two, squashed=False)
    q = Gaussian(torch.tensor([-1.0]), three, squashed=False)
    assert p.kl(q).item() == pytest.approx(math.log(3 / 2) + (4 + 4) / (2 * 9) - 0.5)
    assert p.kl(p).item() == pytest.approx(0, abs=1e-6)


def test_no_divergence_is_given_between_one_through_tanh_and_one_without():
    p, q = (Gaussian(torch.zeros(1), torch.zeros(1), squashed) for squashed in (True, False))
    with pytest.raises(SpecError, match="through tanh"):
        p.kl(q)
    with pytest.raises(SpecError, match="of 1 and 2 entries"):
        q.kl(Gaussian(torch.zeros(2), torch.zeros(2), squashed=False))


def test_the_density_by_hand():
    x, mean, log_std = torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]), torch.tensor([2.0]).log()
    expected = 2 * -math.log(2 * math.sqrt(2 * math.pi)) - 0.5  # one entry is one spread away
    assert gaussian_log_probability(x, mean, log_std.expand(2)).item() == pytest.approx(expected)


def by_definition(rewards, values, next_values, terminated, ended):
    """Sum (gamma lam)^l delta_(t+l) to the end of the episode or of the rollout, Eq. (16)."""
    steps, n = rewards.shape
    advantages = torch.zeros_like(rewards)
    for i in range(n):
        for t in range(steps):
            for k in range(t, steps):
                future = 0.0 if terminated[k, i] else GAMMA * next_values[k, i]
                delta = rewards[k, i] + future - values[k, i]
                advantages[t, i] += (GAMMA * LAM) ** (k - t) * delta
                if ended[k, i]:
                    break
    return advantages


def rollout(generator, *shape):
    rewards, values, next_values = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    terminated = torch.rand(shape[:2], generator=generator) < 0.15
    truncated = torch.rand(shape[:2], generator=generator) < 0.15
    return rewards, values, next_values, terminated, terminated | truncated


def test_gae_is_the_sum_that_defines_it(generator):
    arrays = rollout(generator, 12, 6)
    assert arrays[3].any() and (arrays[4] & ~arrays[3]).any() and arrays[4][-1].any()
    expected = by_definition(*arrays)  # in double precision, and so is what is compared
    torch.testing.assert_close(gae(*arrays, GAMMA, LAM), expected, rtol=1e-12, atol=1e-12)


def test_gae_treats_every_reward_by_itself(generator):
    rewards, values, next_values, *ends = rollout(generator, 12, 6, 3)
    together = gae(rewards, values, next_values, *ends, GAMMA, LAM)
    for k in range(3):
        alone = by_definition(rewards[..., k], values[..., k], next_values[..., k], *ends)
        torch.testing.assert_close(together[..., k], alone)


def test_truncation_is_bootstrapped_and_termination_is_not():
    rewards, values = torch.tensor([[1.0, 1.0]]), torch.tensor([[5.0, 5.0]])
    next_values = torch.tensor([[10.0, 10.0]])
    terminated, ended = torch.tensor([[True, False]]), torch.tensor([[True, True]])
    advantages = gae(rewards, values, next_values, terminated, ended, GAMMA, LAM)
    assert advantages.tolist() == [[1.0 - 5.0, 1.0 + GAMMA * 10.0 - 5.0]]


def test_with_lambda_1_advantage_and_value_make_the_discounted_return():
    rewards, values = torch.ones(4, 1), torch.tensor([[3.0], [1.0], [4.0], [1.0]])
    next_values = torch.cat([values[1:], torch.tensor([[7.0]])])
    never = torch.zeros(4, 1, dtype=torch.bool)
    returns = gae(rewards, values, next_values, never, never, GAMMA, 1.0) + values
    expected = 1 + GAMMA + GAMMA**2 + GAMMA**3 + GAMMA**4 * 7.0
    assert returns[0].item() == pytest.approx(expected)


def test_standardise_over_the_rollout_is_by_head_and_keeps_what_does_not_vary_at_zero(generator):
    x = torch.randn(10, 4, 3, generator=generator) * torch.tensor([1.0, 100.0, 0.0]) + 5.0
    result = standardise(x, dim=(0, 1))
    torch.testing.assert_close(result.mean(dim=(0, 1)), torch.zeros(3), atol=1e-5, rtol=0)
    spread = result.square().mean(dim=(0, 1))
    torch.testing.assert_close(spread, torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(standardise(7.0 * x, dim=(0, 1)), result, atol=1e-4, rtol=1e-4)


def test_standardise_of_each_row_by_hand():
    x = torch.tensor([[1.0, 3.0], [0.0, 8.0], [5.0, 5.0]])
    expected = torch.tensor([[-1.0, 1.0], [-1.0, 1.0], [0.0, 0.0]])
    torch.testing.assert_close(standardise(x, dim=1), expected)


def squashed_log_probability(u, mean, log_std):
    """Give log p(tanh(u))."""
    noise = (u - mean) / log_std.exp()
    return Gaussian(mean, log_std, squashed=True).at(noise)[1]


def test_a_squashed_gaussian_by_a_change_of_variables():
    """The probability of a small interval of a is that of the interval of u it comes from."""
    mean, log_std = torch.tensor([0.3], dtype=torch.float64), torch.tensor([-0.4]).double()
    gaussian, half = Normal(mean, log_std.exp()), 1e-6
    a = torch.linspace(-0.999, 0.999, 41, dtype=torch.float64)[:, None]
    mass = gaussian.cdf(torch.atanh(a + half)) - gaussian.cdf(torch.atanh(a - half))
    expected = torch.log(mass / (2 * half))[:, 0]
    found = squashed_log_probability(torch.atanh(a), mean, log_std)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_density_of_a_squashed_gaussian_adds_up_to_one(generator):
    mean, log_std, _ = gaussian(generator, 2)
    edge = torch.tensor(1 - 1e-9, dtype=torch.float64)
    u = torch.linspace(-1, 1, 2001, dtype=torch.float64) * torch.atanh(edge)
    grid = torch.cartesian_prod(u, u)
    density = squashed_log_probability(grid, mean.double(), log_std.double()).exp()
    area = (1 - torch.tanh(grid) ** 2).prod(dim=-1) * (u[1] - u[0]) ** 2  # da of du
    assert (density * area).sum().item() == pytest.approx(1.0, abs=1e-4)


def test_a_squashed_gaussian_is_finite_where_the_action_rounds_to_its_limit():
    u = torch.tensor([[-40.0], [-10.0], [10.0], [40.0]], requires_grad=True)
    assert torch.tanh(u).abs().max() == 1
    found = squashed_log_probability(u, torch.zeros(1), torch.zeros(1))
    exact = -(u[:, 0] ** 2) / 2 - 0.5 * math.log(2 * math.pi) - 2 * (math.log(2) - u[:, 0].abs())
    torch.testing.assert_close(found, exact)  # 1 - tanh(u)^2 is 4 exp(-2 |u|) out there
    found.sum().backward()
    torch.testing.assert_close(u.grad, -u.detach() + 2 * u.detach().sign())


@pytest.mark.parametrize("squashed", [False, True])
def test_what_a_distribution_draws_by_hand(generator, squashed):
    mean, log_std, torchs = gaussian(generator, 4, 3)
    noise = torch.randn(4, 3, generator=torch.Generator().manual_seed(5))
    u = mean + log_std.exp() * noise
    pi = Gaussian(mean, log_std, squashed)
    action, log_pi = pi.sample(torch.Generator().manual_seed(5))
    torch.testing.assert_close(action, torch.tanh(u) if squashed else u)
    expected = torchs.log_prob(u)
    if squashed:
        expected = expected - (1 - action.double() ** 2).log().sum(dim=-1).float()
    torch.testing.assert_close(log_pi, expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(pi.mode, torch.tanh(mean) if squashed else mean)


def test_gradients_go_through_what_is_drawn(generator):
    mean, log_std, _ = gaussian(generator, 1)
    mean.requires_grad_()
    action, _ = Gaussian(mean, log_std, squashed=True).sample(generator)
    action.backward()
    torch.testing.assert_close(mean.grad, 1 - action.detach() ** 2)


def test_averages_move_by_a_share_of_the_way(generator):
    averages = [torch.randn(3, 2, generator=generator), torch.randn(4, generator=generator)]
    latest = [torch.randn(3, 2, generator=generator), torch.randn(4, generator=generator)]
    expected = [0.9 * a + 0.1 * b for a, b in zip(averages, latest, strict=True)]
    before = [b.clone() for b in latest]
    polyak(averages, latest, 0.1)
    torch.testing.assert_close(averages, expected)
    torch.testing.assert_close(latest, before, rtol=0, atol=0)
    polyak(averages, latest, 1.0)
    torch.testing.assert_close(averages, latest)


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.95, 1.0])
def test_lambda_returns_are_mixtures_of_all_lengths(lam):
    g = torch.Generator().manual_seed(0)
    steps, n = 5, 3
    rewards, values, discounts = torch.rand(3, steps, n, generator=g, dtype=torch.float64)
    found = lambda_return(rewards, values, discounts, lam)
    for t in range(steps):
        whole, sure = torch.zeros(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
        parts = []
        for k in range(t, steps):  # of k - t + 1 rewards, then a value
            whole = whole + sure * rewards[k]
            sure = sure * discounts[k]
            parts.append(whole + sure * values[k])
        weights = [(1 - lam) * lam**i for i in range(len(parts) - 1)] + [lam ** (len(parts) - 1)]
        expected = sum(w * part for w, part in zip(weights, parts, strict=True))
        torch.testing.assert_close(found[t], expected)


def test_a_balanced_divergence_is_the_divergence_with_its_gradient_shared():
    g = torch.Generator().manual_seed(0)
    numbers = [torch.rand(4, 2, generator=g) + 0.3 for _ in range(4)]
    mean_q, std_q, mean_p, std_p = (x.requires_grad_() for x in numbers)
    found = balanced_kl((mean_q, std_q), (mean_p, std_p), 0.8)
    spread = (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_p**2)
    expected = (torch.log(std_p / std_q) + spread - 0.5).sum(dim=-1)
    torch.testing.assert_close(found, expected)
    ours = torch.autograd.grad(found.sum(), numbers)
    plain = torch.autograd.grad(expected.sum(), numbers)
    for share, pair in zip((0.2, 0.2, 0.8, 0.8), zip(ours, plain, strict=True), strict=True):
        torch.testing.assert_close(pair[0], share * pair[1])
