"""One state through an ensemble, fast enough for a control loop on one core.

At batch size one an ensemble of 5 networks with 2 x 1024 units is bound by memory: 22 MB of weights
for 5 million multiplications. After a ReLU about half of the units are zero, and the rows of
weights that leave them need not be read at all: skipping those halves the time and changes nothing.
"""

from __future__ import annotations

import numba
import numpy as np

from robolearn.nets import EnsembleLayerNorm, EnsembleLinear, EnsembleMLP, Normaliser


class CompiledEnsemble:
    """A trained ``Normaliser`` and ``EnsembleMLP`` as one compiled function of one state.

    It copies the weights as they are: make another one after further training. The first one in a
    process takes a second or two to compile (less, once the cache on disk is there).
    """

    def __init__(self, normaliser: Normaliser, mlp: EnsembleMLP):
        linears = [layer for layer in mlp.layers if isinstance(layer, EnsembleLinear)]
        norms = [layer for layer in mlp.layers if isinstance(layer, EnsembleLayerNorm)]
        self._mean, self._std = _array(normaliser.mean), _array(normaliser.std)
        self._weights = tuple(_array(layer.weight) for layer in linears)  # [K, I, J] each
        self._biases = tuple(_array(layer.bias) for layer in linears)  # [K, 1, J]
        self._gains = tuple(_array(layer.gain) for layer in norms)
        self._shifts = tuple(_array(layer.shift) for layer in norms)
        self(self._mean)  # compile now, not in the first step of a control loop

    def __call__(self, state: np.ndarray) -> np.ndarray:
        """Give every member's action [K, A] for one state float32 [O], as ``EnsembleMLP`` does."""
        x = (state - self._mean) / self._std
        return _forward(x, self._weights, self._biases, self._gains, self._shifts)


def _array(tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32).copy()


@numba.njit(cache=True)
def _forward(x, weights, biases, gains, shifts):
    members, actions = weights[-1].shape[0], weights[-1].shape[2]
    out = np.empty((members, actions), np.float32)
    for k in range(members):
        h = x
        for layer in range(len(gains)):
            h = _affine(h, weights[layer][k], biases[layer][k, 0])
            _norm_relu(h, gains[layer][k, 0], shifts[layer][k, 0])
        out[k] = np.tanh(_affine(h, weights[-1][k], biases[-1][k, 0]))
    return out


@numba.njit(cache=True)
def _affine(x, weight, bias):
    """Give bias + x @ weight, reading only the rows of weight [I, J] whose input is not zero."""
    y = bias.copy()
    rows = np.flatnonzero(x)
    whole = len(rows) - len(rows) % 4
    for n in range(0, whole, 4):  # four rows at once: a quarter of the reads and writes of y
        a, b, c, d = rows[n], rows[n + 1], rows[n + 2], rows[n + 3]
        for j in range(len(y)):
            y[j] += (
                x[a] * weight[a, j]
                + x[b] * weight[b, j]
                + x[c] * weight[c, j]
                + x[d] * weight[d, j]
            )
    for n in range(whole, len(rows)):
        for j in range(len(y)):
            y[j] += x[rows[n]] * weight[rows[n], j]
    return y


@numba.njit(cache=True)
def _norm_relu(x, gain, shift):
    """Normalise x [J] to mean 0 and variance 1, then gain, shift and ReLU, in place."""
    mean = x.mean()
    scale = 1.0 / np.sqrt(np.square(x - mean).mean() + 1e-5)
    for j in range(len(x)):
        x[j] = max(np.float32(0.0), np.float32((x[j] - mean) * scale) * gain[j] + shift[j])
