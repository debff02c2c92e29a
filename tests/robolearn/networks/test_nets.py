import pytest
import torch
from torch import nn

from robolearn.networks.nets import (
    Dropout,
    EnsembleDot,
    EnsembleMLP,
    Normaliser,
    RunningNormaliser,
    ValueHead,
    clip_gradients,
    elu_mlp,
    linear,
    load_optimiser_tensors,
    optimiser_tensors,
    relu_mlp,
)


def generators(n, first=0):
    return [torch.Generator().manual_seed(first + k) for k in range(n)]


def ensemble(members=3, dropout=0.0, inputs=4, outputs=2, widths=(8, 6)):
    noise = torch.Generator().manual_seed(99)
    return EnsembleMLP(inputs, outputs, widths, dropout, generators(members), noise)


def separate(mlp, k):
    """Build member k as an ordinary network of torch's own layers."""
    layers = []
    for layer in mlp.layers:
        name = type(layer).__name__
        if name == "EnsembleLinear":
            twin = nn.Linear(layer.weight.shape[1], layer.weight.shape[2])
            twin.weight.data = layer.weight.data[k].T.clone()
            twin.bias.data = layer.bias.data[k, 0].clone()
        elif name == "EnsembleLayerNorm":
            twin = nn.LayerNorm(layer.gain.shape[-1])
            twin.weight.data = layer.gain.data[k, 0].clone()
            twin.bias.data = layer.shift.data[k, 0].clone()
        else:
            twin = {"ReLU": nn.ReLU(), "Tanh": nn.Tanh(), "Dropout": nn.Identity()}[name]
        layers.append(twin)
    return nn.Sequential(*layers)


def test_an_ensemble_is_its_members_side_by_side():
    mlp = ensemble()
    shared, own = torch.randn(7, 4), torch.randn(3, 7, 4)
    for k in range(3):
        torch.testing.assert_close(mlp(shared)[k], separate(mlp, k)(shared))
        torch.testing.assert_close(mlp(own)[k], separate(mlp, k)(own[k]))


def test_training_an_ensemble_is_training_each_member():
    mlp = ensemble()
    members = [separate(mlp, k) for k in range(3)]
    x, y = torch.randn(3, 16, 4), torch.rand(3, 16, 2) - 0.5
    x[1] *= 100.0  # one member gets large gradients, which must not slow the others
    together = torch.optim.Adam(mlp.parameters(), lr=1e-2, fused=True)
    for _ in range(5):
        together.zero_grad()
        (mlp(x) - y).square().mean((1, 2)).sum().backward()
        clip_gradients(mlp, 0.05)
        together.step()
    for k, member in enumerate(members):
        alone = torch.optim.Adam(member.parameters(), lr=1e-2)
        for _ in range(5):
            alone.zero_grad()
            (member(x[k]) - y[k]).square().mean().backward()
            nn.utils.clip_grad_norm_(member.parameters(), 0.05)
            alone.step()
        torch.testing.assert_close(mlp(x)[k], member(x[k]), rtol=1e-3, atol=1e-4)


def test_a_member_does_not_depend_on_how_many_others_there_are():
    x = torch.randn(5, 4)
    torch.testing.assert_close(ensemble(members=5)(x)[:2], ensemble(members=2)(x))


def test_dropout_is_off_in_eval_and_reaches_every_layer_in_training():
    mlp = ensemble(dropout=0.5, widths=(64, 64))
    x = torch.randn(5, 4)
    mlp.eval()
    assert torch.equal(mlp(x), mlp(x))
    mlp.train()
    assert not torch.allclose(mlp(x), mlp(x))


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_dropout_zeroes_the_right_share_and_keeps_the_mean(probability):
    x = torch.ones(40, 5001)  # not a multiple of 4: the random words are cut
    y = Dropout(probability, torch.Generator().manual_seed(0)).train()(x)
    assert (y == 0).float().mean().item() == pytest.approx(probability, abs=0.005)
    assert y.mean().item() == pytest.approx(1.0, abs=0.03)
    assert y.unique().numel() == 2


def test_dropout_passes_the_gradient_of_the_units_that_stay():
    x = torch.ones(100, requires_grad=True)
    y = Dropout(0.5, torch.Generator().manual_seed(0)).train()(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_normaliser_makes_zero_mean_and_unit_spread():
    x = torch.randn(500, 3) * torch.tensor([0.01, 1.0, 50.0]) + torch.tensor([5.0, 0.0, -9.0])
    normaliser = Normaliser(3)
    normaliser.fit(x)
    torch.testing.assert_close(normaliser(x).mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(normaliser(x).std(0), torch.ones(3), atol=1e-2, rtol=0)


def test_normaliser_does_not_blow_up_an_entry_that_never_moved():
    x = torch.randn(50, 2)
    x[:, 1] = 0.7
    normaliser = Normaliser(2)
    normaliser.fit(x)
    later = normaliser(torch.tensor([[0.0, 0.75]]))
    assert later[0, 1].item() == pytest.approx(0.05, abs=1e-6)


def test_the_running_normaliser_has_the_moments_of_all_that_it_saw():
    generator = torch.Generator().manual_seed(0)
    x = 3.0 * torch.randn(50, 4, 2, generator=generator) + torch.tensor([1.0, -7.0])
    normaliser = RunningNormaliser(2)
    for part in x.split([5, 15, 30]):
        normaliser.update(part)
    rows = x.flatten(0, 1)
    torch.testing.assert_close(normaliser.mean, rows.mean(0))
    torch.testing.assert_close(normaliser.variance, rows.var(0, correction=0))
    torch.testing.assert_close(normaliser(x).flatten(0, 1).std(0, correction=0), torch.ones(2))
    torch.testing.assert_close(normaliser.inverse(normaliser(x)), x)


def test_a_running_normaliser_with_a_least_share_follows_what_drifts():
    follows, remembers = RunningNormaliser(1, least_share=0.5), RunningNormaliser(1)
    for mean in (0.0, 0.0, 0.0, 8.0):
        for normaliser in (follows, remembers):
            normaliser.update(torch.full((10, 1), mean))
    assert (follows.mean.item(), remembers.mean.item()) == (4.0, 2.0)
    assert follows.variance.item() == 16.0  # half at 0, half at 8


def test_what_hardly_varies_is_not_scaled_up():
    normaliser = RunningNormaliser(2)
    normaliser.update(torch.tensor([[3.0, 0.0], [3.0, 2.0]]))
    torch.testing.assert_close(normaliser(torch.tensor([3.5, 2.0])), torch.tensor([0.5, 1.0]))


def test_the_value_head_keeps_its_values_when_its_scale_moves():
    generator = torch.Generator().manual_seed(0)
    head = ValueHead(5, 2, generator)
    features = torch.randn(7, 5, generator=generator)
    assert torch.equal(head.values(features), torch.zeros(7, 2))
    nn.init.normal_(head.linear.weight, generator=generator)
    before = head.values(features)
    returns = torch.randn(100, 2, generator=generator) * torch.tensor([0.1, 50.0]) + 20.0
    normal = head.follow(returns)
    torch.testing.assert_close(head.values(features), before, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(normal.std(0, correction=0), torch.ones(2))
    head.follow(returns + 5.0)
    torch.testing.assert_close(head.values(features), before, rtol=1e-4, atol=1e-4)
    assert 20.0 < head.scale.mean[0] < 25.0


def test_orthogonal_layers_follow_from_the_generator():
    layer = linear(6, 4, 2.0, torch.Generator().manual_seed(3))
    torch.testing.assert_close(layer.weight @ layer.weight.T, 4.0 * torch.eye(4))
    again = linear(6, 4, 2.0, torch.Generator().manual_seed(3))
    assert torch.equal(layer.weight, again.weight) and not layer.bias.any()
    mlp = elu_mlp(6, (5, 4), torch.Generator().manual_seed(3))
    assert mlp(torch.ones(2, 3, 6)).shape == (2, 3, 4)


def test_an_optimiser_goes_on_from_its_tensors():
    def trained(split):
        layer = linear(3, 2, 1.0, torch.Generator().manual_seed(0))
        optimiser = torch.optim.Adam(layer.parameters(), fused=True)
        for step in range(4):
            if step == split:
                kept = {k: v.clone() for k, v in optimiser_tensors(optimiser).items()}
                optimiser = torch.optim.Adam(layer.parameters(), fused=True)
                load_optimiser_tensors(optimiser, kept | {"noise": torch.zeros(1)})
            optimiser.zero_grad()
            layer(torch.ones(1, 3)).square().sum().backward()
            optimiser.step()
        return layer.weight

    assert torch.equal(trained(split=2), trained(split=None))


def test_weighted_sums_are_linear_layers_with_one_output():
    dots, x = EnsembleDot(3, 4, generators(3)), torch.randn(3, 7, 4)
    for k in range(3):
        expected = nn.functional.linear(x[k], dots.weight[k], dots.bias[k])[:, 0]
        torch.testing.assert_close(dots(x)[k], expected)
    torch.testing.assert_close(dots.weight[1], EnsembleDot(1, 4, generators(1, 1)).weight[0])
    assert dots.weight.abs().max() <= 0.5 and dots.bias.abs().max() <= 0.5


def test_a_relu_network_begins_with_small_outputs():
    mlp = relu_mlp(4, 2, (8, 6), generators(1)[0])
    x = torch.randn(100, 4)
    first, _, second, _, last = mlp
    hidden = torch.relu(second(torch.relu(first(x))))
    torch.testing.assert_close(mlp(x), last(hidden))
    torch.testing.assert_close(torch.linalg.svdvals(last.weight.detach()), torch.full((2,), 0.01))
    assert not last.bias.any() and 0 < mlp(x).abs().max() < 0.1
