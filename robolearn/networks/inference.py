"""One state through an ensemble, fast enough for a control loop on one core.

At batch size one an ensemble of 5 networks with 2 x 1024 units is bound by memory: 22 MB of weights
for 5 million multiplications. After a ReLU about half of the units are zero, and the rows of
weights that leave them need not be read at all: skipping those halves the time and changes nothing.
"""

from __future__ import annotations

import numba
import numpy as np
from torch import Tensor

from robolearn.networks.nets import (
    LAYER_NORM_EPSILON,
    EnsembleLayerNorm,
    EnsembleLinear,
    EnsembleMLP,
    Normaliser,
)


class CompiledEnsemble:
    """A trained ``Normaliser`` and ``EnsembleMLP`` as a fast function of one state.

    It copies the weights as they are: make another one after further training. The first one on a
    machine takes seconds to compile; the compiled code is kept on disk.
    """

    def __init__(self, normaliser: Normaliser, mlp: EnsembleMLP):
        linears = [layer for layer in mlp.layers if isinstance(layer, EnsembleLinear)]
        norms = [layer for layer in mlp.layers if isinstance(layer, EnsembleLayerNorm)]
        self._members = mlp.members
        self._mean, self._std = _array(normaliser.mean), _array(normaliser.std)
        *self._hidden, self._last = [(_array(a.weight), _array(a.bias)[:, 0]) for a in linears]
        self._norms = [(_array(n.gain)[:, 0], _array(n.shift)[:, 0]) for n in norms]
        self(self._mean)  # compile now, not in the first step of a control loop

    def __call__(self, state: np.ndarray) -> np.ndarray:
        """Give every member's action [K, A] for one state [O], as ``EnsembleMLP`` does."""
        state = np.asarray(state, np.float32)  # for another type it would be compiled again
        x = np.tile((state - self._mean) / self._std, (self._members, 1))  # [K, O]
        for affine, norm in zip(self._hidden, self._norms, strict=True):
            x = _norm_relu(_affine(x, *affine), *norm)
        return np.tanh(_affine(x, *self._last))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float32, order="C", copy=True)


def _norm_relu(x: np.ndarray, gain: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Layer normalisation and ReLU of [K, J], in place."""
    x -= x.mean(axis=1, keepdims=True)
    x /= np.sqrt(np.square(x).mean(axis=1, keepdims=True) + LAYER_NORM_EPSILON)
    x *= gain
    x += shift
    return np.maximum(x, 0.0, out=x)


@numba.njit(cache=True)
def _affine(x, weight, bias):
    """Give bias + x @ weight as [K, J], reading only the rows of weight whose input is not 0."""
    members, inputs, outputs = weight.shape
    y = bias.copy()
    rows = np.empty(inputs, np.int64)
    for k in range(members):
        count = 0
        for i in range(inputs):
            if x[k, i] != 0.0:
                rows[count] = i
                count += 1
        whole = count - count % 4
        for n in range(0, whole, 4):  # four rows at once: a quarter of the reads and writes of y
            a, b, c, d = rows[n], rows[n + 1], rows[n + 2], rows[n + 3]
            xa, xb, xc, xd = x[k, a], x[k, b], x[k, c], x[k, d]
            wa, wb, wc, wd = weight[k, a], weight[k, b], weight[k, c], weight[k, d]
            for j in range(outputs):
                y[k, j] += xa * wa[j] + xb * wb[j] + xc * wc[j] + xd * wd[j]
        for n in range(whole, count):
            for j in range(outputs):
                y[k, j] += x[k, rows[n]] * weight[k, rows[n], j]
    return y
