"""Behaviour cloning of action chunks: the next H actions at once.

Each of K networks f_k is fitted to the H actions that follow a state within its episode,

    minimise over f_k:  E_(s_t, a_t ... a_(t+H-1)) ~ D  mean_(h, j) (f_k(s_t)_hj - a_(t+h)_j)^2

(Zhao, Kumar, Levine, Finn, "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware",
RSS 2023, whose networks are transformers and whose error is absolute). What lies beyond the end of
an episode does not count. A robot may carry a chunk out while the next one is thought of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor, nn

from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.algos.image_bc import ImageCloning, ImageCloningConfig
from robolearn.types import Observation, Spec

Several = Annotated[int, Ge(2)]


class Chunked:
    """What makes a cloning one of chunks; a ``robolearn.types.Chunking`` policy.

    A batch has "actions" [B, H, A] or, one batch for each member, [K, B, H, A], and "within" [B, H]
    or [K, B, H]: 1 for actions within the episode, 0 for those that would follow its end.
    """

    @property
    def chunk(self) -> int:
        """Give the actions of a chunk, H."""
        return self.config.chunk

    def build(self, inputs: int, outputs: int, generators: Sequence[torch.Generator]) -> nn.Module:
        """Make K networks [K, B, I] -> [K, B, H * J]."""
        return super().build(inputs, self.chunk * outputs, generators)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the first action of the chunk, float32 [N, A]."""
        return self.act_chunk(observation, explore)[:, 0]

    def act_chunk(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the members' mean actions of the next H steps, float32 [N, H, A]."""
        self.network.eval()
        with torch.inference_mode():
            seen = {
                name: torch.tensor(observation[name], device=self.device)
                for name in self.interface.observations
            }
            return self.chunks(seen).mean(dim=0).cpu().numpy()

    def actions(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Give every member's first action [K, B, A]."""
        return self.chunks(observations)[:, :, 0]

    def chunks(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Give f_k(s) [K, B, H, A]."""
        return super().actions(observations).unflatten(-1, (self.chunk, -1))

    def squared_error(self, batch: Mapping[str, Any]) -> Tensor:
        """Give weight * mean_(h, j) (f_k(s)_hj - a_hj)^2 over the steps within, as [K, B]."""
        within = batch["within"]
        error = (self.chunks(batch["observations"]) - batch["actions"]).square().mean(dim=-1)
        return (error * within).sum(dim=-1) / within.sum(dim=-1) * batch["weight"]


@dataclass(frozen=True)
class ChunkCloningConfig(BCConfig):
    """Network and optimiser of ``ChunkCloning``."""

    chunk: Several = 8
    """Actions of a chunk."""

    @classmethod
    def of(cls, config: BCConfig, chunk: int) -> ChunkCloningConfig:
        """Add chunks to a configuration of cloning."""
        return cls(**dataclasses.asdict(config), chunk=chunk)


class ChunkCloning(Chunked, BehaviorCloning):
    """An ensemble that clones chunks of actions by the "state"."""

    name = "chunk_bc"

    def __init__(
        self, interface: Spec, config: ChunkCloningConfig, seed: int = 0, device: str = "cpu"
    ):
        """Draw the initial weights, as ``BehaviorCloning`` does."""
        super().__init__(interface, config, seed, device)


@dataclass(frozen=True)
class ChunkImageCloningConfig(ImageCloningConfig):
    """Network and optimiser of ``ChunkImageCloning``."""

    chunk: Several = 8
    """Actions of a chunk."""

    @classmethod
    def of(cls, config: ImageCloningConfig, chunk: int) -> ChunkImageCloningConfig:
        """Add chunks to a configuration of cloning from images."""
        return cls(**vars(config), chunk=chunk)


class ChunkImageCloning(Chunked, ImageCloning):
    """An ensemble that clones chunks of actions by cameras, beside the state or without one."""

    name = "chunk_image_bc"

    def __init__(
        self, interface: Spec, config: ChunkImageCloningConfig, seed: int = 0, device: str = "cpu"
    ):
        """Draw the initial weights, as ``ImageCloning`` does."""
        super().__init__(interface, config, seed, device)
