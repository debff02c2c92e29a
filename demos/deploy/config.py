"""What a launch file of ``verb: deploy`` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pydantic
from annotated_types import MinLen

from demos.data.mp4 import Images
from demos.devices.make import DeviceConfig
from robolearn.running.config import EnvConfig
from robolearn.settings import Settings


@dataclass(frozen=True)
class ChunkConfig(Settings):
    """How the chunks of a policy that gives several actions at a time are carried out."""

    steps: pydantic.PositiveInt | None = None
    """Actions of each chunk that are carried out; None: all that are not past by then."""
    ahead: pydantic.NonNegativeInt = 0
    """Steps before they are over at which the policy is asked for the next chunk, while the arm
    goes on; 0: it waits."""


@dataclass(frozen=True)
class DeployConfig(Settings):
    """Which policy acts on which robot, and who may take over."""

    checkpoint: str
    """A checkpoint, a run that left one, or a folder of runs, whose newest one counts."""
    env: EnvConfig
    """The robot, ``robot/NAME``, or any environment; it must fit what the policy was trained on."""
    learner: str | None = None
    """``module:Class`` of the policy, if it is one's own and no installed package publishes it."""
    dataset: str | None = None
    """Folder to which the episodes go, whatever becomes of them; None: ``episodes`` of the run."""
    images: Images = "frames"
    """How cameras are kept: each frame by itself, exactly; as h264, with loss; or h264 without."""
    operator: Annotated[str, MinLen(1)] = "policy"
    """Whose episodes they are, in the dataset."""
    task: str = ""
    """What is to be done, in words."""
    episodes: pydantic.PositiveInt = 10
    """How many."""
    horizon: pydantic.PositiveInt = 400
    """Longest episode, in control steps."""
    settle_steps: pydantic.NonNegativeInt = 0
    """Steps that are recorded after the first success."""
    success: Literal["environment", "person"] = "environment"
    """Who says that an episode succeeded: "environment", a simulator's task or a detector, or the
    "person" at the terminal, who also begins each episode."""
    chunk: ChunkConfig | None = None
    """For policies with ``act_chunk``; None: single steps, by ``act``."""
    takeover: DeviceConfig | None = None
    """What the person has in hand who takes over; None: nobody."""
