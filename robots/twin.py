"""A simulated arm that behaves like hardware; the default for trying anything.

It lives in real time, or in that of the clock it is given: between two calls the physics goes on by
as much as the clock has. Commands take effect after ``latency_s``, encoders have steps and noise,
exchanges fail now and then, and faults begin at times that are said beforehand: everything follows
from the seed and the calls.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import annotated_types
import numpy as np
import pydantic

from robolearn.errors import UserError, nearest
from robolearn.names import load
from robolearn.settings import Settings
from robots.base import BusError, Camera, Clock, Driver, Features, LostError, Values
from robots.clocks import RealClock
from robots.worlds import DeskWorld, Servos, SimWorld, World

MOST_CATCH_UP_S = 5.0  # of physics in one call: beyond it the clock is taken to have stood still
BLOCKED = 1e6  # kg m^2 (kg): the inertia of a stalled joint, against which nothing moves


class FaultKind(StrEnum):
    """What can go wrong with an arm."""

    UNPLUGGED = "unplugged"  # nothing answers any more; servos hold their last target
    STALLED = "stalled"  # a joint does not move
    FROZEN = "frozen"  # cameras show what they showed
    MIRRORED = "mirrored"  # a joint's encoder counts the other way than its motor goes
    TURNED = "turned"  # both do: the joint was calibrated the wrong way round
    WRAPPED = "wrapped"  # a joint's encoder reads a turn too much
    NOISY = "noisy"  # exchanges fail
    DEAF = "deaf"  # commands, and stops, are not heard; the arm goes on as it was


@dataclass(frozen=True)
class Fault:
    """One fault; times count from when the twin was made."""

    kind: FaultKind
    at_s: float = 0.0
    joint: str = ""  # whose it is, where it is one joint's; "": every joint's
    until_s: float = math.inf


@dataclass(frozen=True)
class TwinConfig(Settings):
    """How much like hardware it is."""

    world: str = "desk"
    """"desk", an arm alone on a table, or an environment of robosuite's with a Panda."""
    latency_s: pydantic.NonNegativeFloat = 0.01
    """From sending a command to its taking effect."""
    noise: pydantic.NonNegativeFloat = 5e-4
    """Standard deviation of a measured position, rad (of a gripper: share)."""
    encoder_steps: pydantic.PositiveInt = 4096
    """Of a turn; of a gripper's opening."""
    failing: Annotated[float, annotated_types.Ge(0), annotated_types.Lt(1)] = 0.002
    """Share of exchanges on the bus that fail."""
    cameras: tuple[str, ...] = ()
    """Names of the model's cameras."""
    image_size: tuple[pydantic.PositiveInt, pydantic.PositiveInt] = (96, 128)
    """Height and width, pixels."""
    camera_hz: pydantic.PositiveFloat = 30.0
    """Images per second."""
    seed: pydantic.NonNegativeInt = 0
    """Of noise and failures."""
    faults: tuple[Fault, ...] = ()
    """What goes wrong, and when: ``[{kind: unplugged, at_s: 5.0}]``."""


class Twin(Driver):
    """See the module; a Robot as any other."""

    name = "twin"
    measures = ("pos", "vel")

    def __init__(self, config: TwinConfig | None = None, clock: Clock | None = None) -> None:
        self.config = config or TwinConfig()
        self.world: World = _world(self.config.world)
        self.arm = self.world.arm
        self.joints = self.arm.joints
        super().__init__(clock=clock or RealClock())
        self.cameras = _cameras(self)
        self.faults = list(self.config.faults)
        _require_joints(self.faults, [joint.name for joint in self.joints])
        self.drawing: ThreadPoolExecutor | None = None  # GL's contexts are a thread's own
        self._rng = np.random.default_rng(self.config.seed)
        self._servos = Servos(self.world)
        self._target = self.arm.positions(self.world.data)  # [J], that the servos have
        self._coming: deque[tuple[float, np.ndarray]] = deque()  # (when it takes effect, target)
        self._made_s = self._now_s = self.clock()
        self._stalled: dict[int, float] = {}
        self._inertia = self.arm.model.dof_armature.copy()
        self._going: np.ndarray | None = None  # velocities [J] with which a deaf arm goes on

    @property
    def observation_features(self) -> Features:
        """See ``Robot``; arrays of the world beside."""
        sensed = {name: np.ndarray for name in self.world.names()}
        return super().observation_features | sensed

    def get_observation(self) -> Values:
        """See ``Robot``."""
        return super().get_observation() | self.world.sense()

    def reset_world(self, seed: int) -> None:
        """Put the world where a seed says, the arm included: by hand, so to speak."""
        self.world.reset(seed)
        self._coming.clear()
        self._stalled.clear()
        self._target = self.arm.positions(self.world.data)
        self._now_s = self.clock()

    def success(self) -> bool:
        """Say whether the world's task is done."""
        self.advance()
        return self.world.success()

    def has(self, kind: FaultKind, joint: str = "") -> bool:
        """Say whether a fault is there now."""
        since_s = self._now_s - self._made_s
        return any(
            f.kind is kind and f.at_s <= since_s < f.until_s and f.joint in ("", joint)
            for f in self.faults
        )

    def advance(self) -> None:
        """Let the physics catch up with the clock."""
        step_s = self.arm.model.opt.timestep
        now_s = self.clock()
        if now_s - self._now_s > MOST_CATCH_UP_S:
            self._now_s = now_s - MOST_CATCH_UP_S
        for _ in range(int((now_s - self._now_s) / step_s + 1e-6)):
            self._now_s += step_s
            while self._coming and self._coming[0][0] <= self._now_s + 1e-9:
                self._target = self._coming.popleft()[1]
            self._step()

    # Driver's

    def _open(self) -> None:
        self.advance()
        self._require_there()

    def _close(self) -> None:
        self._coming.clear()
        if self.drawing is not None:
            self.drawing.shutdown()
            self.drawing = None

    def _enable(self) -> None:
        self.advance()
        self._require_there()
        self._coming.clear()
        self._target = self.arm.positions(self.world.data)

    def _disable(self) -> None:
        self._halt()  # it has brakes

    def _read(self) -> Mapping[str, np.ndarray]:
        self.advance()
        self._require_there()
        self._disturb()
        positions = self._as_measured(self.arm.positions(self.world.data))
        step = 2 * np.pi / self.config.encoder_steps
        noisy = positions + self._rng.normal(0, 1, len(positions)) * self.config.noise
        velocities = self.arm.velocities(self.world.data)
        return {"pos": np.rint(noisy / step) * step, "vel": velocities}

    def _write(self, positions: np.ndarray) -> np.ndarray:
        self.advance()
        self._require_there()
        self._disturb()
        low = np.array([joint.lower for joint in self.joints])
        high = np.array([joint.upper for joint in self.joints])
        sent = np.clip(positions, low, high)
        if not self.has(FaultKind.DEAF):
            self._coming.append((self._now_s + self.config.latency_s, self._as_commanded(sent)))
        return sent

    def _halt(self) -> None:
        self.advance()
        self._require_there()
        if not self.has(FaultKind.DEAF):
            self._coming.clear()
            self._target = self.arm.positions(self.world.data)

    # physics and faults

    def _step(self) -> None:
        self._go_on_if_deaf()
        self._servos.step(self.arm.to_model(self._target))
        if self.faults or self._stalled:
            for joint in range(len(self.joints)):
                self._hold_if_stalled(joint)

    def _hold_if_stalled(self, joint: int) -> None:
        """Have what blocks a stalled joint take its motor's force, which others feel otherwise."""
        data, arm = self.world.data, self.arm
        at = np.flatnonzero(arm.of_joint == joint)
        stalled = self.has(FaultKind.STALLED, self.joints[joint].name)
        arm.model.dof_armature[arm.dof_at[at]] = (
            BLOCKED if stalled else self._inertia[arm.dof_at[at]]
        )
        if not stalled:
            self._stalled.pop(joint, None)
            return
        held = self._stalled.setdefault(joint, data.qpos[arm.qpos_at[at[0]]])
        data.qpos[arm.qpos_at[at]] = held * np.sign(arm.gain[at] / arm.gain[at[0]])
        data.qvel[arm.dof_at[at]] = 0.0

    def _go_on_if_deaf(self) -> None:
        """Move the target on as quickly as the arm went when it stopped listening."""
        if not self.has(FaultKind.DEAF):
            self._going = None
            return
        if self._going is None:
            self._going = self.arm.velocities(self.world.data)
        low = [joint.lower for joint in self.joints]
        high = [joint.upper for joint in self.joints]
        step_s = self.arm.model.opt.timestep
        self._target = np.clip(self._target + step_s * self._going, low, high)

    def _require_there(self) -> None:
        if self.has(FaultKind.UNPLUGGED):
            raise LostError(f"{self.name}: nothing answers: is it plugged in?")

    def _disturb(self) -> None:
        """Fail as often as configured; under NOISY, mostly."""
        share = 0.9 if self.has(FaultKind.NOISY) else self.config.failing
        if share and self._rng.random() < share:
            raise BusError(f"{self.name}: an answer with a wrong checksum")

    def _as_measured(self, positions: np.ndarray) -> np.ndarray:
        """Give what the encoders say of true positions [J]."""
        seen = positions.copy()
        for j, joint in enumerate(self.joints):
            turned = self.has(FaultKind.TURNED, joint.name)
            if turned or self.has(FaultKind.MIRRORED, joint.name):
                seen[j] = joint.lower + joint.upper - seen[j]
            if self.has(FaultKind.WRAPPED, joint.name):
                seen[j] += 2 * np.pi
        return seen

    def _as_commanded(self, positions: np.ndarray) -> np.ndarray:
        """Give the positions [J] that the motors go to for a command."""
        true = positions.copy()
        for j, joint in enumerate(self.joints):
            if self.has(FaultKind.TURNED, joint.name):
                true[j] = joint.lower + joint.upper - true[j]
        return true


class TwinCamera:
    """One of the model's cameras, with images at its own rate, whichever thread asks for them."""

    def __init__(self, twin: Twin, name: str) -> None:
        self._twin, self._name = twin, name
        self.shape = (*twin.config.image_size, 3)
        self._images = None
        self._taken_s = -math.inf
        self._image = np.zeros(self.shape, np.uint8)

    def open(self) -> None:
        """Make what draws; UserError for a camera that the model does not have."""
        load("sim.registry:prepare")()
        twin = self._twin
        options = load("sim.rendering.images:CameraOptions")(
            cameras=(self._name,), image_size=twin.config.image_size
        )
        make = load("sim.rendering.images:Images")
        images = make(twin.arm.model, twin.world.data, options, twin.name)
        twin.drawing = twin.drawing or ThreadPoolExecutor(1, thread_name_prefix="twin's cameras")
        twin.drawing.submit(images.observe).result()  # the first takes long, and is nobody's
        self._images = images

    def latest(self) -> tuple[np.ndarray, float]:
        """Draw if the next image is due."""
        twin = self._twin
        now_s, period_s = twin.clock(), 1 / twin.config.camera_hz
        if now_s - self._taken_s >= period_s and not twin.has(FaultKind.FROZEN):
            self._image = twin.drawing.submit(self._images.observe).result()[self._name]
            self._taken_s = now_s
        return self._image, self._taken_s

    def close(self) -> None:
        """Free what draws."""
        if self._images is not None:
            self._twin.drawing.submit(self._images.close).result()
            self._images = None


def twin(
    config: TwinConfig, cameras: Mapping[str, Camera] | None = None, clock: Clock | None = None
) -> Twin:
    """Make a twin; its cameras are the model's own, others cannot see it."""
    if cameras:
        raise UserError(f"twin: camera '{min(cameras)}' cannot see what is simulated; use its own")
    return Twin(config, clock)


def _world(name: str) -> World:
    if name == "desk":
        return DeskWorld()
    if not name.startswith("robosuite/"):
        raise UserError(f"twin: world '{name}' must be desk or robosuite/TASK")
    return SimWorld(name)


def _cameras(twin: Twin) -> dict[str, Camera]:
    model = twin.arm.model
    known = [model.camera(i).name for i in range(model.ncam)]
    for name in twin.config.cameras:
        if name not in known:
            raise UserError(f"twin: no camera '{name}'{nearest(name, known)}")
    return {name: TwinCamera(twin, name) for name in twin.config.cameras}


def _require_joints(faults: Sequence[Fault], names: Sequence[str]) -> None:
    for fault in faults:
        if fault.joint and fault.joint not in names:
            raise UserError(f"twin: no joint '{fault.joint}'{nearest(fault.joint, names)}")
