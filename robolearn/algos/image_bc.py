"""Behaviour cloning from camera images, beside the state or without one.

Each of K networks encodes every camera by convolutions and a spatial softmax, and maps the points
that come of it, beside the normalised state, to the action; it is fitted as in ``bc.py``. In
training each image is cropped at random, else in its middle. Architecture and crops follow
Mandlekar et al., "What Matters in Learning from Offline Human Demonstrations for Robot
Manipulation" (CoRL 2021), but that the encoder is a small one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Gt, Le
from pydantic import PositiveInt
from torch import Tensor, nn

from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.errors import SpecError
from robolearn.networks.keypoints import (
    KeypointEncoder,
    centre_crop,
    cropped_size,
    least_size,
    random_crop,
)
from robolearn.networks.nets import EnsembleMLP
from robolearn.settings import Settings, Widths
from robolearn.types import ArraySpec, Observation, Spec

STATE = "state"
IMAGES_AT_A_TIME = 128  # where nothing is learnt from them


@dataclass(frozen=True)
class EncoderConfig(Settings):
    """How images are seen. Raises UserError for a value out of range."""

    channels: Widths = (16, 32, 32)
    """Of each convolution."""
    points: PositiveInt = 32
    """Positions in each camera's image that come of it."""
    crop: Annotated[float, Gt(0), Le(1)] = 0.9
    """Share of an image's height and width that is seen."""


@dataclass(frozen=True)
class ImageCloningConfig(BCConfig):
    """Network and optimiser of ``ImageCloning``."""

    encoder: EncoderConfig = EncoderConfig()
    """How images are seen."""

    @classmethod
    def of(cls, config: BCConfig, encoder: EncoderConfig) -> ImageCloningConfig:
        """Add an encoder to a configuration of cloning."""
        return cls(**dataclasses.asdict(config), encoder=encoder)


class SeeingMLP(nn.Module):
    """K networks: a state [K, B, O] and crops uint8 [K, B, h, w, 3] of each camera -> [K, B, J]."""

    def __init__(self, encoders: Sequence[KeypointEncoder], head: EnsembleMLP):
        super().__init__()
        self.encoders, self.head = nn.ModuleList(encoders), head

    def forward(self, state: Tensor, images: Sequence[Tensor]) -> Tensor:
        """Give the actions; ``images`` are in the order of the encoders."""
        points = [encode(one) for encode, one in zip(self.encoders, images, strict=True)]
        return self.head(torch.cat([state, *points], dim=-1))


class ImageCloning(BehaviorCloning):
    """An ensemble cloned from demonstrations with cameras; see ``BehaviorCloning``.

    In a batch every camera is uint8 [B, H, W, 3] or, one batch for each member, [K, B, H, W, 3].
    """

    name = "image_bc"

    def __init__(
        self, interface: Spec, config: ImageCloningConfig, seed: int = 0, device: str = "cpu"
    ):
        """Draw the initial weights; SpecError for an interface without colour cameras."""
        self.cameras = {
            name: cropped_size(array.shape[:2], config.encoder.crop)
            for name, array in sorted(interface.observations.items())
            if name != STATE and _is_colour(name, array)
        }
        if not self.cameras:
            raise SpecError("there is no camera to clone from")
        least = least_size(len(config.encoder.channels))
        for name, (height, width) in self.cameras.items():
            if min(height, width) < least:
                seen = f"of {name}, {height} x {width} pixels would be seen"
                raise SpecError(f"{seen}: {least} x {least} are needed at least")
        super().__init__(interface, config, seed, device)

    def sizes(self, interface: Spec) -> tuple[int, int]:
        """Give the entries of state, 0 without one, and action."""
        state = interface.observations.get(STATE)
        return state.shape[0] if state else 0, interface.action.shape[0]

    def build(self, inputs: int, outputs: int, generators: Sequence[torch.Generator]) -> nn.Module:
        """Make K networks whose parameters all have a leading axis K."""
        config, seen = self.config, self.config.encoder
        encoders = [KeypointEncoder(seen.channels, seen.points, generators) for _ in self.cameras]
        inputs += 2 * seen.points * len(encoders)
        head = EnsembleMLP(inputs, outputs, config.widths, config.dropout, generators, self.noise)
        return SeeingMLP(encoders, head)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the members' mean action, float32 [N, A]; it is the same when exploring."""
        self.network.eval()
        with torch.inference_mode():
            seen = {
                name: torch.tensor(observation[name], device=self.device)
                for name in self.interface.observations
            }
            return self.actions(seen).mean(dim=0).cpu().numpy()

    def actions(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Give f_k(s) [K, B, A]; images are cropped at random when training, else in the middle."""
        images = [
            random_crop(self._of_members(observations[name], 4), size, self.noise)
            if self.network.training
            else self._of_members(centre_crop(observations[name], size), 4)
            for name, size in self.cameras.items()
        ]
        if STATE in observations:
            state = self.network["normaliser"](observations[STATE].float())
        else:
            state = images[0].new_empty((*images[0].shape[:-3], 0), dtype=torch.float32)
        return self.network["mlp"](self._of_members(state, 2), images)

    def _of_members(self, array: Tensor, axes: int) -> Tensor:
        """Give every member a batch of its own, [K, B, ...]."""
        return array.expand(self.config.members, *array.shape) if array.ndim == axes else array

    def fit_normaliser(self, observations: Mapping[str, Tensor]) -> None:
        """Take the scale of the state, if there is one; pixels have theirs."""
        if STATE in observations:
            super().fit_normaliser(observations)

    def validate(self, batch: Mapping[str, Any]) -> Tensor:
        """Give every member's error [K] on [B, ...] data, a part of it at a time."""
        self.network.eval()
        size = len(batch["actions"])
        with torch.inference_mode():
            errors = [
                self.squared_error(_part(batch, slice(start, start + IMAGES_AT_A_TIME)))
                for start in range(0, size, IMAGES_AT_A_TIME)
            ]
        return torch.cat(errors, dim=1).mean(dim=1)


def _is_colour(name: str, array: ArraySpec) -> bool:
    """Say that an observation is a colour camera; SpecError if it is something else."""
    if array.dtype != "uint8" or len(array.shape) != 3 or array.shape[2] != 3:
        raise SpecError(
            f"{name} is no colour image ({array.dtype}, {array.shape}): leave it out by obs="
        )
    return True


def _part(batch: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    return {k: _part(v, rows) if isinstance(v, Mapping) else v[rows] for k, v in batch.items()}
