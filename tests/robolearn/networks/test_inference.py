import numpy as np
import pytest
import torch

from robolearn.networks.inference import CompiledEnsemble
from robolearn.networks.nets import EnsembleMLP, Normaliser


@pytest.mark.parametrize("widths", [(33,), (64, 30)])
def test_compiled_equals_torch(widths):
    generators = [torch.Generator().manual_seed(k) for k in range(3)]
    mlp = EnsembleMLP(5, 2, widths, 0.5, generators, torch.Generator()).eval()
    normaliser = Normaliser(5)
    normaliser.fit(torch.randn(20, 5) * 3 + 1)
    with torch.no_grad():
        for layer in mlp.layers[1::4]:  # gains and shifts that are not 1 and 0
            if hasattr(layer, "gain"):
                layer.gain.uniform_(0.5, 2.0)
                layer.shift.uniform_(-0.5, 0.5)
    compiled = CompiledEnsemble(normaliser, mlp)
    states = torch.randn(20, 5) * 3
    with torch.no_grad():
        expected = mlp(normaliser(states)).numpy()  # [K, B, A]
    for i, state in enumerate(states.numpy()):
        np.testing.assert_allclose(compiled(state), expected[:, i], atol=2e-6)


def test_a_double_is_taken_for_a_float():
    generators = [torch.Generator().manual_seed(0)]
    mlp = EnsembleMLP(2, 1, (4,), 0.0, generators, torch.Generator()).eval()
    compiled = CompiledEnsemble(Normaliser(2), mlp)
    action = compiled(np.array([0.1, 0.2]))
    assert action.dtype == np.float32
    np.testing.assert_array_equal(action, compiled(np.array([0.1, 0.2], np.float32)))


def test_compiled_keeps_the_weights_it_was_made_with():
    generators = [torch.Generator().manual_seed(0)]
    mlp = EnsembleMLP(2, 1, (4,), 0.0, generators, torch.Generator()).eval()
    compiled = CompiledEnsemble(Normaliser(2), mlp)
    before = compiled(np.ones(2, np.float32))
    with torch.no_grad():
        mlp.layers[0].weight.zero_()
    np.testing.assert_array_equal(compiled(np.ones(2, np.float32)), before)
