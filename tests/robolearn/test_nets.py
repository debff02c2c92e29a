import pytest
import torch
from torch import nn

from robolearn.nets import Dropout, EnsembleMLP, Normaliser, clip_gradients


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
