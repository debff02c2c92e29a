"""Any robot as a gymnasium environment: ``sim.make("robot/twin")``, for whoever takes one.

A control period is a whole number of servo periods. In each of those the robot is measured and
gets a command through the guard; the environment is behind it and cannot do harm. What stops the
arm truncates the episode, with the reason as ``info["error"]``, and the next reset refuses until
``guard.reset_stop()``. Between two episodes the arm rests, and is stopped, as its guard says: the
next reset begins all the same.

A state is [time s, positions J]: beginning in it moves the arm there, and nothing else. Of the two
signs of the hand's quaternion that one is given which is on the side of its home pose.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import pydantic

from robolearn.errors import DataError, OptionError, SpecError, UserError, nearest
from robolearn.names import load
from robolearn.settings import Settings
from robolearn.types import ArraySpec, Observation, Spec
from robots.actions import ActionConfig, make_actions
from robots.arm_model import ArmModel, desk_arm
from robots.base import LifeCycle, Robot, RobotError, Values, named, quantity
from robots.cameras import CameraConfig, OpenCvCamera
from robots.clocks import RealClock, SimulatedClock
from robots.guard import Guard, GuardConfig, StopError
from robots.observing import (
    described,
    image_specs,
    reset_pose,
    spaces,
    state_parts,
    wxyz,
)
from robots.registry import ROBOTS, SIMULATED, make_robot
from robots.safety import SafetyConfig
from robots.servo import ServoProcess

MODELS: dict[str, Callable[[], ArmModel]] = {"desk_arm": desk_arm}
ARRIVED = 0.01  # share of a joint's range


@dataclass(frozen=True)
class RobotConfig(Settings):
    """Options of ``make("robot/NAME", ...)``."""

    robot: dict[str, Any] = field(default_factory=dict)
    """Options of the robot itself: ``{port: /dev/ttyACM0}``."""
    cameras: dict[str, CameraConfig] = field(default_factory=dict)
    """Cameras by name: ``{front: {source: 0}}``; a twin names its own in ``robot``."""
    model: str | None = None
    """The arm's model, which says where its hand is: "desk_arm"; None: the robot's own, if any."""
    control_hz: pydantic.PositiveFloat = 20.0
    """Actions per second."""
    servo_hz: pydantic.PositiveFloat = 100.0
    """Commands per second; a multiple of ``control_hz``."""
    action: ActionConfig = ActionConfig()
    """What an action is."""
    state: tuple[str, ...] | None = None
    """What ``"state"`` consists of: pos, vel, hand; None: pos, and hand if there is a model. A
    twin in a task of robosuite's gives the simulator's own state."""
    safety: SafetyConfig = SafetyConfig()
    """Limits."""
    guard: GuardConfig = GuardConfig()
    """When the arm is stopped."""
    reset_pose: dict[str, float] | None = None
    """Positions by joint in which an episode begins; None: the model's home, else as it is."""
    reset_s: pydantic.PositiveFloat = 10.0
    """How long going there may take."""
    horizon: pydantic.PositiveInt | None = None
    """Control steps after which an episode is truncated."""
    own_process: bool = False
    """Whether the servo loop is a process of its own, which goes on whatever becomes of this one.
    Else a thread of this one acts while nobody calls."""
    simulated_time: bool = False
    """For a twin: time goes by as fast as it computes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ticks = self.servo_hz / self.control_hz
        if abs(ticks - round(ticks)) > 1e-9 or ticks < 1:
            raise UserError(
                f"servo_hz={self.servo_hz:g} must be a multiple of control_hz={self.control_hz:g}"
            )

    @property
    def ticks(self) -> int:
        """Servo periods in a control period."""
        return round(self.servo_hz / self.control_hz)


def names() -> list[str]:
    """List our robots."""
    return sorted(ROBOTS)


def make(name: str, options: Mapping[str, Any]) -> RobotEnv:
    """Make the environment ``robot/NAME``; the robot is connected at the first reset.

    Raises UserError for an unknown robot or option.
    """
    where = f"robot/{name}"
    known = [f.name for f in dataclasses.fields(RobotConfig)]
    for key in options:
        if key not in known:
            raise OptionError(f"{where}: unknown option '{key}'{nearest(key, known)}", key)
    try:
        config = RobotConfig(**options)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if config.simulated_time and name not in SIMULATED:
        raise UserError(f"{where}: simulated_time is for twins; a robot lives in real time")
    if not config.own_process:
        clock = SimulatedClock() if config.simulated_time else RealClock()
        return RobotEnv(_robot(name, config, clock), config, clock=clock, where=where)
    if config.simulated_time:
        raise UserError(f"{where}: a process of its own lives in real time, not simulated_time")
    servo = ServoProcess(guarded, name, dict(options))
    return RobotEnv(servo.robot, config, guard=servo, where=where)


def guarded(name: str, options: Mapping[str, Any]) -> Guard:
    """Make the guarded robot of ``make("robot/NAME", ...)`` in the machine's time, for a loop."""
    config, clock = RobotConfig(**options), RealClock()
    guard = _guard(_robot(name, config, clock), config, None, clock)
    guard.watched = False  # the loop does
    return guard


def _robot(name: str, config: RobotConfig, clock: Any) -> Robot:
    cameras = {key: OpenCvCamera(key, camera, clock) for key, camera in config.cameras.items()}
    return make_robot(name, config.robot, cameras, clock)


def _guard(robot: Robot, config: RobotConfig, arm: ArmModel | None, clock: Any) -> Guard:
    """Make a robot's guard; what it compiles, the first time, is announced."""
    with load("sim.engine.compiling:announcing")("the safety filter"):
        return Guard(
            robot,
            1 / config.servo_hz,
            safe=config.safety,
            config=config.guard,
            arm=_arm(robot, config, arm),
            clock=clock,
        )


class RobotEnv(gymnasium.Env):
    """See the module, and ``robolearn.types.Environment``.

    ``success`` says whether the task is done, of the last observation: an operator's button, a
    detector; by default a twin's own task, else never. ``before_episode`` is called before the arm
    moves to its reset pose: where a person puts things in place.
    """

    metadata = {"render_modes": []}
    render_mode = None
    mujoco_state_size = 0

    def __init__(
        self,
        robot: Robot,
        config: RobotConfig | None = None,
        *,
        clock: Any = None,
        arm: ArmModel | None = None,
        guard: Guard | ServoProcess | None = None,
        where: str = "",
        success: Callable[[Values], bool] | None = None,
        before_episode: Callable[[], None] | None = None,
    ) -> None:
        self.config = config = config or RobotConfig()
        self.robot, self.clock = robot, clock or RealClock()
        self.arm = _arm(robot, config, arm)
        self._tick_s = 1 / config.servo_hz
        self._success = success or self._own_success
        self._before_episode = before_episode or (lambda: None)
        self.horizon = config.horizon or math.inf
        self._actions = make_actions(config.action, robot.joints, self.arm, self._tick_s)
        self._parts = state_parts(config.state, robot, self.arm)
        self._reset_pose = reset_pose(config.reset_pose, robot, self.arm)
        if self.arm is not None:
            self._hand_at_home = wxyz(self.arm.hand_pose(self.arm.home)[1])
        self.interface = Spec(
            environment=where or f"robot/{robot.name}",
            observations={"state": self._state_spec(), **image_specs(robot)},
            action=self._actions.spec,
            period_s=1 / config.control_hz,
            robot=robot.name if self.arm is None else self.arm.name,
        )
        self.observation_space, self.action_space = spaces(self.interface)
        self.guard = guard or _guard(robot, config, arm, self.clock)  # last: it may compile
        self._ticks = self._missed = 0
        self._began_s, self._next_s, self._steps = 0.0, 0.0, 0
        self._begun = self._interrupted = self._paused = False
        self._values: Values = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: move to the reset pose, or to ``options={"state": state}``.

        A twin's world begins as ``seed`` says. Raises StopError while the arm is stopped, and
        RobotError where it does not get there.
        """
        super().reset(seed=seed)
        options = options or {}
        for key in options:
            if key != "state":
                raise UserError(f"{self.interface.environment}: unknown reset option '{key}'")
        self._require_open()
        if not self.robot.is_connected:
            self.guard.connect(calibrate=False)
        self._come_to_rest()
        pose = self._reset_pose
        if hasattr(self.robot, "reset_world"):
            self.guard.stop()
            self.robot.reset_world(int(self.np_random.integers(2**32)))
            pose = None
        elif self.robot.life_cycle is LifeCycle.ACTIVE:  # still holding, after the last episode
            self.guard.stop()
        self._require_open()
        self._before_episode()
        self.guard.activate()
        if "state" in options:
            pose = _checked(options["state"], len(self.robot.joints) + 1, "state")[1:]
        self._next_s = self.clock()
        self._look()
        if pose is not None:
            self._go_to(pose)
        self._actions.begin(self.guard.commanded)
        self._began_s, self._steps = self.clock(), 0
        self._begun, self._interrupted, self._paused = True, False, False
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply an action float32 [A] in [-1, 1] for a control period, which goes by meanwhile.

        ``info`` has "success", "is_success", "reward_terms"; "changes", what the guard changed of
        the commands and why; and "error" where the arm was stopped, which truncates the episode.
        Raises SpecError for an action of another shape and DataError for one that is not finite:
        the arm then comes to rest.
        """
        if not self._begun:
            raise UserError(f"{self.interface.environment}: reset the environment before a step")
        words: dict[str, None] = {}
        info: dict[str, Any] = {}
        success = False
        try:
            self._go_on()
            action = self._checked_action(action)
            plan = self._actions.plan(action, self.guard.commanded, self.config.ticks)
            for target in plan:
                self._tick(target)
                words |= dict.fromkeys(word.partition(":")[0] for word in self.guard.record.words)
            self._look()  # what is left of the last servo period is the policy's to think in
            success = bool(self._success(self._values))
        except StopError as error:
            info["error"] = str(error)
        self._steps += 1
        info |= {
            "success": success,
            "is_success": success,
            "reward_terms": {"task": float(success)},
            "changes": tuple(words),
        }
        truncated = "error" in info or self._steps >= self.horizon
        self._interrupted = "error" in info
        self._begun = not self._interrupted
        return self._observation(), float(success), False, truncated, info

    def pause(self) -> str:
        """Rest in an episode, for whoever is there and has no action: called once a control period.

        Unlike silence it lasts as long as it is called. Says what has stopped the arm, as the next
        step will; "" if nothing has.
        """
        if not self._begun:
            return ""
        try:
            self._look()
            self.guard.pause()
        except StopError as error:
            return str(error)
        self._paused = True
        return ""

    def get_state(self) -> np.ndarray:
        """Give [time s since the episode began, positions J], measured."""
        positions = quantity(self.robot.joints, self._values)
        return np.concatenate([[self.clock() - self._began_s], positions])

    def set_state(self, state: np.ndarray) -> Observation:
        """Move the arm to a state's positions; the rest of the world stays as it is."""
        return self.reset(options={"state": state})[0]

    def close(self) -> None:
        """Stop and disconnect the robot; calling it again does nothing."""
        self._begun = False
        self.guard.disconnect()
        world = getattr(self.robot, "world", None)
        if world is not None:
            world.close()

    @property
    def ticks(self) -> int:
        """How many servo periods there were."""
        return getattr(self.guard, "ticks", (self._ticks, 0))[0]

    @property
    def missed(self) -> int:
        """How many of them began a whole period late."""
        return getattr(self.guard, "ticks", (0, self._missed))[1]

    # time and motion

    def _go_on(self) -> None:
        """Begin to count time and actions anew after a pause: from where the arm rests."""
        if self._paused:
            self._actions.begin(self.guard.commanded)
            self._next_s, self._paused = self.clock(), False

    def _come_to_rest(self) -> None:
        """Bring an arm that the last episode has left in motion to rest, within its limits."""
        self._next_s = self.clock()
        while self.robot.life_cycle is LifeCycle.ACTIVE and not self.guard.at_rest:
            self._wait()
            self._look()
            self.guard.pause("the episode is over")

    def _require_open(self) -> None:
        """Raise StopError where somebody has to look: not for silence between two episodes."""
        stops = self.guard.stops
        if self.guard.silent and not self._interrupted:
            self.guard.reset_stop(stops)
        self.guard.require_open()

    def _wait(self) -> None:
        """Wait for the next servo period; periods that were missed are not made up for."""
        now_s = self.clock()
        self._next_s = max(self._next_s + self._tick_s, getattr(self.guard, "due_s", 0.0))
        self._ticks += 1
        if now_s > self._next_s + self._tick_s:
            self._missed += 1
            self._next_s = now_s
        else:
            self.clock.sleep(self._next_s - now_s)

    def _tick(self, target: np.ndarray) -> None:
        self._wait()
        self._look()
        self.guard.send_action(named(self.robot.joints, {"pos": target}))

    def _look(self) -> None:
        self._values = self.guard.get_observation()

    def _go_to(self, pose: np.ndarray) -> None:
        """Go to positions [J] at the guard's speed, and wait until the arm is there."""
        span = np.array([joint.upper - joint.lower for joint in self.robot.joints])
        off = np.abs(quantity(self.robot.joints, self._values) - pose) / span
        ends_s = self.clock() + self.config.reset_s
        while self.clock() < ends_s:
            self._tick(pose)
            off = np.abs(quantity(self.robot.joints, self._values) - pose) / span
            if self.guard.config.dry_run or (off <= ARRIVED).all() and self.guard.at_rest:
                return
        joint = self.robot.joints[int(off.argmax())].name
        late = f" ({self.missed} of {self.ticks} servo periods were late)" if self.missed else ""
        raise RobotError(
            f"{self.robot.name}: {joint} is still {100 * off.max():.0f}% of its range from the "
            f"reset pose after {self.config.reset_s:g} s{late}; give it more reset_s, or another "
            "pose"
        )

    def _checked_action(self, action: np.ndarray) -> np.ndarray:
        """Give the action, clipped; for what is refused the arm comes to rest first."""
        try:
            return np.clip(_checked(action, self.interface.action.shape[0], "action"), -1, 1)
        except UserError:
            self.guard.rest("an action that was refused")
            raise

    # observations

    def _own_success(self, values: Values) -> bool:
        """Ask a twin whether its own task is done; any other robot has none."""
        ask = getattr(self.robot, "success", None)
        with self.guard.turn:
            return ask is not None and bool(ask())

    def _state_spec(self) -> ArraySpec:
        entries: list[str] = []
        units: list[str] = []
        for part in self._parts:
            names, of = described(part, self.robot)
            entries += names
            units += of
        return ArraySpec((len(entries),), names=tuple(entries), units=tuple(units))

    def _observation(self) -> Observation:
        state = np.concatenate([self._part(part) for part in self._parts], dtype=np.float32)
        images = {
            name: self._values[name]
            for name, spec in self.interface.observations.items()
            if spec.dtype == "uint8"
        }
        return {"state": state, **images}

    def _part(self, part: str) -> np.ndarray:
        if part == "hand":
            position, rotation = self.arm.hand_pose(quantity(self.robot.joints, self._values))
            quaternion = wxyz(rotation)
            turned = quaternion if quaternion @ self._hand_at_home >= 0 else -quaternion
            return np.concatenate([position, turned])
        if part in ("pos", "vel", "effort"):
            return quantity(self.robot.joints, self._values, part)
        return np.ravel(self._values[part])


def _arm(robot: Robot, config: RobotConfig, arm: ArmModel | None) -> ArmModel | None:
    if config.model is None:
        return arm or getattr(robot, "arm", None)
    if config.model not in MODELS:
        raise UserError(f"model: unknown model '{config.model}'{nearest(config.model, MODELS)}")
    return MODELS[config.model]()


def _checked(values: Any, size: int, what: str) -> np.ndarray:
    try:
        values = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise SpecError(f"{what}: must be an array of numbers") from None
    if values.shape != (size,):
        raise SpecError(f"{what}: has shape {values.shape} instead of ({size},)")
    if not np.isfinite(values).all():
        raise DataError(f"{what}: holds what is not a finite number")
    return values
