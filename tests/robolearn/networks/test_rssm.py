"""The recurrent state-space model, and networks for images."""

import pytest
import torch

from robolearn.networks.images import ConvDecoder, ConvEncoder, drawn
from robolearn.networks.rssm import RSSM, SMALLEST_STD, Belief, Normal

B, T, A, E, H, Z = 3, 6, 2, 5, 7, 4


def model(blind=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return drawn(lambda: RSSM(A, E, H, Z, units=8, blind=blind), generator)


def sequences(seed=0):
    g = torch.Generator().manual_seed(seed)
    first = torch.zeros(B, T, dtype=torch.bool)
    first[:, 0] = True
    first[1, 3] = True
    return (
        torch.randn(B, T, E, generator=g), torch.rand(B, T, A, generator=g) * 2 - 1, first,
        torch.randn(B, T, Z, generator=g),
    )  # fmt: skip


@pytest.mark.parametrize("blind", [False, True])
def test_filtering_is_step_by_step_and_begins_anew_with_each_episode(blind):
    rssm, (codes, actions, first, noise) = model(blind), sequences()
    found = rssm.filter(codes, actions, first, noise)
    for b in range(B):
        belief = rssm.initial(1)
        for t in range(T):
            action = actions[b : b + 1, t]
            if first[b, t]:
                belief, action = rssm.initial(1), torch.zeros(1, A)
            h, posterior = rssm.see(belief, action, rssm.code(codes[b : b + 1, t]))
            prior = rssm.prior(h)
            belief = Belief(h, posterior.mean + posterior.std * noise[b : b + 1, t])
            for ours, theirs in (
                (found.belief, belief), (found.posterior, posterior), (found.prior, prior),
            ):  # fmt: skip
                for whole, one in zip(ours, theirs, strict=True):
                    torch.testing.assert_close(whole[b : b + 1, t], one)
    assert (found.posterior.std > SMALLEST_STD).all()


@pytest.mark.parametrize("blind", [False, True])
def test_a_blind_posterior_cannot_tell_the_last_action_and_the_prior_can(blind):
    rssm, (codes, actions, first, noise) = model(blind), sequences()
    actions.requires_grad_()
    found = rssm.filter(codes, actions, first, noise)
    for t in range(1, T):
        for part in found.posterior:
            (slope,) = torch.autograd.grad(part[:, t].sum(), actions, retain_graph=True)
            assert (slope[:, t] == 0).all() == blind or not (~first[:, t]).any()
            assert not blind or t == 1 or slope[0, t - 1].abs().max() > 0  # earlier ones are known
        (slope,) = torch.autograd.grad(found.prior.mean[:, t].sum(), actions, retain_graph=True)
        assert (slope[:, t].abs().amax(dim=-1) > 0).equal(~first[:, t])


def test_a_prediction_is_the_prior_and_smooth_in_the_action():
    rssm = model()
    belief, action = Belief(torch.randn(B, H), torch.randn(B, Z)), torch.randn(B, A)
    action.requires_grad_()
    noise = torch.randn(B, Z)
    following = rssm.predict(belief, action, noise)
    prior = rssm.prior(rssm.recur(belief, action))
    torch.testing.assert_close(following.z, prior.mean + prior.std * noise)
    (slope,) = torch.autograd.grad(following.z.sum(), action)
    assert slope.abs().min() > 0
    assert following.features.shape == (B, H + Z)


def test_a_draw_goes_with_the_mean_and_by_its_noise_with_the_spread():
    mean, std = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
    noise = torch.tensor([-2.0, 0.0, 0.5])
    slopes = torch.autograd.grad(Normal(mean, std).at(noise).sum(), (mean, std))
    torch.testing.assert_close(slopes, (torch.ones(3), noise))


def test_images_are_coded_and_drawn():
    generator = torch.Generator().manual_seed(0)
    encoder = drawn(lambda: ConvEncoder(3, 4), generator)
    decoder = drawn(lambda: ConvDecoder(9, 6, 4), generator)
    codes = encoder(torch.rand(2, 3, 3, 64, 64) - 0.5)
    assert codes.shape == (2, 3, encoder.size) and codes.std() > 0.01
    assert decoder(torch.randn(2, 3, 9)).shape == (2, 3, 6, 64, 64)


def test_only_the_generator_draws_first_weights():
    before = torch.get_rng_state()
    one, same, other = model(seed=1), model(seed=1), model(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    for name, weight in one.named_parameters():
        assert torch.equal(weight, same.get_parameter(name))
        assert weight.ndim == 1 or not torch.equal(weight, other.get_parameter(name))
    gate = one.cell.weight_hh[:H]
    torch.testing.assert_close(gate @ gate.T, torch.eye(H), atol=1e-5, rtol=0)
