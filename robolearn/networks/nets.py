"""Networks: plain torch modules that the methods put together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robolearn.errors import DataError

LAYER_NORM_EPSILON = 1e-5


class EnsembleLinear(nn.Module):
    """K affine maps at once: [K, B, I] -> [K, B, J], initialised as ``nn.Linear`` is."""

    def __init__(
        self, members: int, inputs: int, outputs: int, generators: Sequence[torch.Generator]
    ):
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))  # [K, I, J]
        self.bias = nn.Parameter(torch.empty(members, 1, outputs))  # [K, 1, J]
        for k, generator in enumerate(generators):
            nn.init.uniform_(self.weight.data[k], -bound, bound, generator=generator)
            nn.init.uniform_(self.bias.data[k], -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Apply member k to x[k]."""
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleDot(nn.Module):
    """K weighted sums at once, each with a shift: [K, B, I] -> [K, B], initialised alike.

    Several times as fast as ``EnsembleLinear`` with one output: matrix products are made for more.
    """

    def __init__(self, members: int, inputs: int, generators: Sequence[torch.Generator]):
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, 1, inputs))  # [K, 1, I]
        self.bias = nn.Parameter(torch.empty(members, 1))  # [K, 1]
        for k, generator in enumerate(generators):
            nn.init.uniform_(self.weight.data[k], -bound, bound, generator=generator)
            nn.init.uniform_(self.bias.data[k], -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Apply member k to x[k]."""
        return (x * self.weight).sum(dim=-1) + self.bias


class EnsembleLayerNorm(nn.Module):
    """K layer normalisations over the last axis, each with its own gain and shift."""

    def __init__(self, members: int, size: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(members, 1, size))  # [K, 1, J]
        self.shift = nn.Parameter(torch.zeros(members, 1, size))  # [K, 1, J]

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [K, B, J] over J."""
        normal = F.layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPSILON)
        return torch.addcmul(self.shift, normal, self.gain)


class Dropout(nn.Module):
    """Dropout that draws from a given generator, so that a seed decides the masks; off in eval."""

    def __init__(self, probability: float, generator: torch.Generator):
        super().__init__()
        self.probability, self.generator = probability, generator

    def forward(self, x: Tensor) -> Tensor:
        """Zero entries with the given probability and scale the others up, when training."""
        if not self.training or self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        threshold = int(keep * 2**16) - 2**15
        mask = torch.lt(self._random_int16(x), threshold, out=torch.empty_like(x))
        return x * mask.div_(keep)

    def _random_int16(self, like: Tensor) -> Tensor:
        """Draw uniform 16-bit integers, four from each 64-bit one: 5 times as fast as Bernoulli."""
        words = torch.empty((like.numel() + 3) // 4, dtype=torch.int64, device=like.device)
        words.random_(-(2**63), None, generator=self.generator)
        return words.view(torch.int16)[: like.numel()].view(like.shape)


class EnsembleMLP(nn.Module):
    """K independent networks as one batched module: (linear, norm, ReLU, dropout)*, linear, tanh.

    Every parameter has a leading axis K, and no operation mixes members: a member's output and
    gradient are those of a network of its own. ``generators`` (one per member) draw the initial
    weights, so that a member does not depend on how many others there are; ``noise`` draws dropout.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        widths: Sequence[int],
        dropout: float,
        generators: Sequence[torch.Generator],
        noise: torch.Generator,
    ):
        super().__init__()
        self.members = members = len(generators)
        sizes = [inputs, *widths]
        layers: list[nn.Module] = []
        for below, above in zip(sizes, widths, strict=False):
            layers += [
                EnsembleLinear(members, below, above, generators),
                EnsembleLayerNorm(members, above),
                nn.ReLU(),
                Dropout(dropout, noise),
            ]
        layers += [EnsembleLinear(members, sizes[-1], outputs, generators), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map x, [B, I] shared by all members or [K, B, I] one batch each, to [K, B, J]."""
        if x.ndim == 2:
            x = x.expand(self.members, *x.shape)
        return self.layers(x)


class EnsembleSpectral(EnsembleLinear):
    """K affine maps whose weights have a spectral norm of ``bound`` at most.

    While training the norm is estimated, one step of power iteration each time; else it is exact.
    Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for Generative Adversarial Networks"
    (ICLR 2018), but that smaller norms are left alone.
    """

    def __init__(
        self,
        members: int,
        inputs: int,
        outputs: int,
        generators: Sequence[torch.Generator],
        bound: float,
    ):
        super().__init__(members, inputs, outputs, generators)
        self.bound = bound
        start = torch.stack([torch.randn(outputs, generator=g) for g in generators])
        self.register_buffer("direction", F.normalize(start, dim=-1))  # u [K, J]
        self._exact: tuple[int, Tensor] | None = None  # of which version of the weights

    def forward(self, x: Tensor) -> Tensor:
        """Apply member k to x[k]."""
        if self.training:  # an optimiser may change the weights without a new version
            self._exact = None
        norm = self._estimated() if self.training else self._known()
        weight = self.weight * (self.bound / norm).clamp(max=1.0)[:, None, None]
        return torch.baddbmm(self.bias, x, weight)

    def _estimated(self) -> Tensor:
        with torch.no_grad():
            left = F.normalize((self.weight @ self.direction[..., None])[..., 0], dim=-1)  # [K, I]
            right = F.normalize((left[:, None] @ self.weight)[:, 0], dim=-1)
            self.direction.copy_(right)
        return torch.einsum("ki,kij,kj->k", left, self.weight, right)

    def _known(self) -> Tensor:
        version = self.weight._version
        if self._exact is None or self._exact[0] != version:
            norm = torch.linalg.matrix_norm(self.weight.detach(), ord=2)
            self._exact = version, norm
        return self._exact[1]


class EnsembleLipschitz(nn.Module):
    """K networks (linear, ReLU)*, linear, tanh, with | f(x) - f(y) | <= c | x - y |.

    Members are apart, as in ``EnsembleMLP``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        widths: Sequence[int],
        c: float,
        generators: Sequence[torch.Generator],
    ):
        super().__init__()
        self.members = len(generators)
        sizes = [inputs, *widths, outputs]
        bound = c ** (1 / (len(sizes) - 1))
        layers: list[nn.Module] = []
        for below, above in zip(sizes, sizes[1:], strict=False):
            layers += [
                EnsembleSpectral(self.members, below, above, generators, bound),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers[:-1], nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """Map x, [B, I] shared by all members or [K, B, I] one batch each, to [K, B, J]."""
        if x.ndim == 2:
            x = x.expand(self.members, *x.shape)
        return self.layers(x)


class Normaliser(nn.Module):
    """Shift and scale to zero mean and unit spread per entry; part of the weights, never trained.

    An entry that hardly varies in the data is shifted but not scaled up: dividing by next to
    nothing would turn the smallest deviation met later into an enormous input.
    """

    def __init__(self, size: int, smallest_std: float = 1e-4):
        super().__init__()
        self.smallest_std = smallest_std
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def fit(self, x: Tensor) -> None:
        """Take mean and standard deviation [I] from x [B, I]."""
        spread = x.double().std(dim=0, correction=0)
        self.mean.copy_(x.double().mean(dim=0))
        self.std.copy_(torch.where(spread > self.smallest_std, spread, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [..., I]."""
        return (x - self.mean) / self.std


class RunningNormaliser(nn.Module):
    """Shift and scale by the mean and spread of all that was seen; part of the weights.

    ``least_share`` is the least weight that a new batch gets against what came before it: 0 weighs
    all entries ever seen alike, more follows what drifts. The first batch is taken over whole.
    """

    def __init__(self, size: int, least_share: float = 0.0, smallest_std: float = 1e-4):
        super().__init__()
        self.least_share, self.smallest_std = least_share, smallest_std
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @property
    def std(self) -> Tensor:
        """Give the spread [I]; 1 for an entry that hardly varies, as in ``Normaliser``."""
        std = self.variance.sqrt()
        return torch.where(std > self.smallest_std, std, 1.0)

    def update(self, x: Tensor) -> None:
        """Take x [..., I] into account (Chan et al. 1979: moments of two samples put together)."""
        rows = x.detach().flatten(0, -2).double()
        self.count += len(rows)
        share = max(len(rows) / self.count.item(), self.least_share)
        shift = rows.mean(dim=0) - self.mean
        spread = rows.var(dim=0, correction=0) - self.variance
        self.variance.copy_(self.variance + share * spread + share * (1 - share) * shift.square())
        self.mean.copy_(self.mean + share * shift)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [..., I]."""
        return (x - self.mean) / self.std

    def inverse(self, x: Tensor) -> Tensor:
        """Undo ``forward``."""
        return x * self.std + self.mean


class ValueHead(nn.Module):
    """K linear value estimates that learn in units of their own returns (PopArt).

    ``forward`` gives normalised values; ``values`` gives them in units of the rewards. They start
    at zero, so that nothing but a factor changes if a reward is given in other units. Van Hasselt
    et al., "Learning values across many orders of magnitude" (NeurIPS 2016).
    """

    def __init__(self, inputs: int, critics: int, generator: torch.Generator):
        super().__init__()
        self.linear = linear(inputs, critics, 0.0, generator)
        self.scale = RunningNormaliser(critics, least_share=0.05, smallest_std=1e-8)

    def forward(self, features: Tensor) -> Tensor:
        """Give normalised values [..., K] for features [..., I]."""
        return self.linear(features)

    def values(self, features: Tensor) -> Tensor:
        """Give values [..., K] in units of the rewards."""
        return self.scale.inverse(self(features))

    def follow(self, returns: Tensor) -> Tensor:
        """Take the scale of returns [..., K] into account and give them normalised.

        What ``values`` gives stays the same: the weights make up for the new scale.
        """
        mean, std = self.scale.mean.clone(), self.scale.std
        self.scale.update(returns)
        with torch.no_grad():
            self.linear.weight.mul_((std / self.scale.std)[:, None])
            self.linear.bias.mul_(std).add_(mean - self.scale.mean).div_(self.scale.std)
        return self.scale(returns)


def linear(inputs: int, outputs: int, gain: float, generator: torch.Generator) -> nn.Linear:
    """Make an affine map with orthogonal weights times ``gain`` (Saxe et al. 2014), no shift."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def relu_mlp(
    inputs: int, outputs: int, widths: Sequence[int], generator: torch.Generator
) -> nn.Sequential:
    """Make (linear, ReLU)*, linear: [..., I] -> [..., J], with small first outputs."""
    layers: list[nn.Module] = []
    for below, above in zip([inputs, *widths], widths, strict=False):
        layers += [linear(below, above, math.sqrt(2), generator), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, linear(widths[-1], outputs, 0.01, generator))


def elu_mlp(inputs: int, widths: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Make (linear, ELU)*: features [..., widths[-1]] of [..., inputs]."""
    layers: list[nn.Module] = []
    for below, above in zip([inputs, *widths], widths, strict=False):
        layers += [linear(below, above, math.sqrt(2), generator), nn.ELU()]
    return nn.Sequential(*layers)


def clip_gradients(module: nn.Module, largest_norm: float) -> Tensor:
    """Limit the gradient norm of every ensemble member by itself; return the norms [K] before.

    Clipping the joint norm would let one member's large gradient slow the others.
    """
    gradients = [p.grad for p in module.parameters()]
    squares = torch.stack([g.flatten(1).square().sum(1) for g in gradients])  # [P, K]
    norms = squares.sum(0).sqrt()
    scale = (largest_norm / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))
    return norms


def load_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Take over what a module's ``state_dict`` gave; DataError if it is of another network."""
    try:
        module.load_state_dict(dict(weights))
    except RuntimeError as error:
        fault = str(error).splitlines()[-1].strip()
        raise DataError(f"these weights are of another network: {fault}") from error


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Give an optimiser's memory by name, ``optimiser/0/exp_avg``, for a checkpoint."""
    memory = optimiser.state_dict()["state"]
    return {f"optimiser/{i}/{k}": v for i, entries in memory.items() for k, v in entries.items()}


def load_optimiser_tensors(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Take over what ``optimiser_tensors`` gave; other names are not looked at.

    DataError if what it gave of a parameter lacks something, or is of another shape.
    """
    whole, memory = optimiser.state_dict(), {}
    for key in (key for key in tensors if key.startswith("optimiser/")):
        _, index, name = key.split("/")
        memory.setdefault(int(index), {})[name] = tensors[key]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    kept = {name for entries in memory.values() for name in entries}
    for index, entries in memory.items():
        shapes = {t.shape for t in entries.values() if t.ndim}
        if index >= len(parameters) or shapes - {parameters[index].shape}:
            raise DataError(f"the memory of its optimiser is of another network: entry {index}")
        if kept - entries.keys():
            raise DataError(f"it lacks optimiser/{index}/{min(kept - entries.keys())}")
    optimiser.load_state_dict(whole | {"state": memory})
