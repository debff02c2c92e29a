"""What a launch file of ``verb: teleop`` says."""

from __future__ import annotations

from dataclasses import dataclass

from demos.data.mp4 import Images
from demos.devices.make import DeviceConfig
from demos.page.config import PageConfig
from demos.session.gain import GainConfig
from demos.session.judging import ScorerConfig
from demos.session.teaching import SessionConfig
from robolearn.errors import UserError
from robolearn.running.config import EnvConfig
from robolearn.settings import Settings


@dataclass(frozen=True)
class ReplayConfig(Settings):
    """Which stored demonstration acts in place of a person."""

    dataset: str
    """Folder of a dataset."""
    episode: str | None = None
    """Its name, "demo_3"; None for the last one."""


@dataclass(frozen=True)
class TeleopConfig(SessionConfig):
    """Who demonstrates what with which device, and where the demonstrations go."""

    env: EnvConfig | None = None
    """The environment; None for that of ``replay.dataset``."""
    dataset: str | None = None
    """Folder; a session that was begun in it goes on. None: nothing is stored."""
    images: Images = "frames"
    """How cameras are kept: each frame by itself, exactly; as h264, with loss; or h264 without."""
    device: DeviceConfig = DeviceConfig()
    """What the person has in hand."""
    policy: str | None = None
    """A checkpoint, a run that left one, or a folder of runs: this policy acts until the person
    moves, and each such step is marked as an intervention."""
    replay: ReplayConfig | None = None
    """A stored demonstration that acts; nobody is asked."""
    judge: ScorerConfig | None = None
    """Whose demonstrations the person's are held against."""
    gain: GainConfig | None = None
    """How it is measured, at the end, what the kept demonstrations are worth to a policy of the
    judge's base; None: not at all."""
    picture: str | None = None
    """A camera whose picture is drawn in the terminal, in coloured characters."""
    page: PageConfig | None = None
    """A page in the browser that shows the session; with ``device.kind: page`` it steers too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.env is None and self.replay is None:
            raise UserError("env: which environment? env: {name: robosuite/Lift}")
        if self.policy is not None and self.replay is not None:
            raise UserError("policy: a replay acts alone; leave out one of policy and replay")
        if self.gain is not None and (self.judge is None or self.dataset is None):
            raise UserError("gain: needs a base, judge: {base: DATASET}, and a dataset")
        if self.learn and self.judge is None:
            raise UserError("learn: whose demonstrations are to be watched? judge: {base: DATASET}")
