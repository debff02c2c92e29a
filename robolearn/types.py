"""The contracts: every room speaks in these types, and every MDP convention is said here, once.

Conventions
- Shape letters: B batch, T time, N environments, O observation, A action, S state, Z skill, K
  members.
- An observation is a dict of named arrays. ``"state"`` is float32 [O], every low-dimensional value
  in a fixed, named order; a camera is uint8 [H, W, 3] under its own name, its
  segmentation int32 [H, W, 2] (MuJoCo's id and type of the object) under ``NAME_segmentation``.
- An action is float32 [A] in [-1, 1]; the Spec says what one unit of each entry means.
- SI units, seconds, radians; quaternions are wxyz.
- An episode has T actions and T + 1 observations. ``terminated`` (the task ended) is not
  ``truncated`` (time ran out, somebody stopped it): bootstrapping multiplies by
  ``1 - terminated`` only.
- A simulator state is float64 [S], all that a bit-exact restart needs (controllers' memory too); it
  begins with time, qpos, qvel.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from robolearn.errors import DataError, SpecError, nearest

Observation = dict[str, np.ndarray]


@dataclass(frozen=True)
class ArraySpec:
    """What one array is: its shape and dtype, and for vectors the name, unit and scale per entry.

    ``scale[i]`` is the physical amount, in ``units[i]``, that an action entry of 1.0 stands for.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for what in ("names", "units", "scale"):
            values = getattr(self, what)
            if values and self.shape != (len(values),):
                raise SpecError(f"{len(values)} {what} for an array of shape {self.shape}")

    def index(self, prefix: str) -> np.ndarray:
        """Give the positions [n] of all entries called ``prefix`` or ``prefix_*``, in order.

        SpecError if there are none.
        """
        found = [
            i
            for i, name in enumerate(self.names)
            if name == prefix or name.startswith(prefix + "_")
        ]
        if not found:
            known = {name.rpartition("_")[0] or name for name in self.names}
            raise SpecError(f"no entry '{prefix}'{nearest(prefix, known)}")
        return np.asarray(found)


@dataclass(frozen=True)
class Spec:
    """What goes in and out of an environment, a robot, a dataset and a policy."""

    environment: str  # "robosuite/NutAssemblySquare"
    observations: dict[str, ArraySpec]
    action: ArraySpec
    period_s: float  # control period
    robot: str = ""  # "Panda"
    controller: dict[str, Any] = field(default_factory=dict)  # JSON-able settings

    def to_json(self) -> str:
        """Write as JSON text; ``from_json`` gives an equal Spec back."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """Read what ``to_json`` wrote."""

        def array(values: Mapping[str, Any]) -> ArraySpec:
            return ArraySpec(
                **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            )

        raw = json.loads(text)
        observations = {name: array(values) for name, values in raw.pop("observations").items()}
        return cls(observations=observations, action=array(raw.pop("action")), **raw)

    def require(self, other: Spec, ours: str, theirs: str) -> None:
        """Raise SpecError, naming every difference, unless ``other`` can stand in for this Spec.

        Observation keys, shapes, dtypes and entry names, the action's size, names and scale, robot
        and controller must agree (what one of them leaves empty agrees with anything). ``ours`` and
        ``theirs`` name the two sides: "the policy", "dataset demos/square".
        """
        faults = []
        missing = sorted(set(self.observations) - set(other.observations))
        extra = sorted(set(other.observations) - set(self.observations))
        if missing:
            faults.append(f"missing observations {', '.join(missing)}")
        if extra:
            faults.append(f"extra observations {', '.join(extra)}")
        for key in sorted(set(self.observations) & set(other.observations)):
            faults += _differences(key, self.observations[key], other.observations[key])
        faults += _differences("action", self.action, other.action)
        if self.robot and other.robot and self.robot != other.robot:
            faults.append(f"robot {other.robot} instead of {self.robot}")
        if self.controller and other.controller and self.controller != other.controller:
            changed = sorted(
                key
                for key in self.controller.keys() | other.controller.keys()
                if self.controller.get(key) != other.controller.get(key)
            )
            faults.append(f"another controller (differs in {', '.join(changed)})")
        if faults:
            raise SpecError(f"{theirs} does not fit {ours}: {'; '.join(faults)}")


def _differences(key: str, ours: ArraySpec, theirs: ArraySpec) -> list[str]:
    if ours.shape != theirs.shape:
        return [f"{key} has shape {theirs.shape} instead of {ours.shape}"]
    if ours.dtype != theirs.dtype:
        return [f"{key} is {theirs.dtype} instead of {ours.dtype}"]
    if ours.names and theirs.names and ours.names != theirs.names:
        i = next(i for i, (a, b) in enumerate(zip(ours.names, theirs.names, strict=True)) if a != b)
        return [f"{key}[{i}] is {theirs.names[i]} instead of {ours.names[i]}"]
    if ours.scale and theirs.scale and ours.scale != theirs.scale:
        return [f"{key} has scale {theirs.scale} instead of {ours.scale}"]
    return []


@dataclass(frozen=True)
class Step:
    """One transition, handed to whoever watches a loop (viewer, recorder, elicitation panel)."""

    t: int  # index of the action in its episode
    observation: Observation  # before the action
    action: np.ndarray  # [A], what was really sent
    reward: float
    next_observation: Observation
    terminated: bool
    truncated: bool
    info: dict[str, Any]  # "success", "reward_terms", ...
    state: np.ndarray | None = None  # [S], before the action


@dataclass(frozen=True)
class Episode:
    """T actions and T + 1 observations, with simulator states and reward terms if there are any.

    Shapes are checked when it is made (DataError); finite values by ``require_finite``, which
    training and scoring call, so that a faulty recording can still be kept and looked at.
    """

    observations: dict[str, np.ndarray]  # name -> [T + 1, ...]
    actions: np.ndarray  # [T, A] float32
    rewards: np.ndarray  # [T] float32
    terminated: bool
    truncated: bool
    success: bool
    states: np.ndarray | None = None  # [T + 1, S] float64
    reward_terms: dict[str, np.ndarray] = field(default_factory=dict)  # name -> [T]
    metadata: dict[str, Any] = field(
        default_factory=dict
    )  # JSON-able: operator, seed, versions, ...
    records: dict[str, np.ndarray] = field(
        default_factory=dict
    )  # name -> [T, ...]: what else was noted at each step, "action_asked", "sent_s", ...

    def __post_init__(self) -> None:
        steps = len(self.actions)
        if steps == 0:
            raise DataError("an episode needs at least one action")
        if self.actions.ndim != 2:
            raise DataError(f"actions have shape {self.actions.shape} instead of [T, A]")
        lengths = {name: (len(a), steps + 1) for name, a in self.observations.items()}
        lengths["rewards"] = (len(self.rewards), steps)
        lengths |= {f"reward_terms/{k}": (len(a), steps) for k, a in self.reward_terms.items()}
        lengths |= {f"records/{k}": (len(a), steps) for k, a in self.records.items()}
        if self.states is not None:
            lengths["states"] = (len(self.states), steps + 1)
        for name, (length, right) in lengths.items():
            if length != right:
                raise DataError(f"{name} has {length} rows instead of {right} for {steps} actions")

    def __len__(self) -> int:
        return len(self.actions)

    def require_finite(self, where: str = "episode") -> None:
        """Raise DataError that names the first array and step with a NaN or an infinity."""
        arrays = {"actions": self.actions, "rewards": self.rewards, **self.observations}
        for name, array in arrays.items():
            if np.issubdtype(array.dtype, np.floating):
                bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)  # [T]
                if bad.any():
                    raise DataError(f"{where}: {name} is not finite at step {int(bad.argmax())}")


class Environment(Protocol):
    """A ``gymnasium.Env`` that also says what goes in and out, and can be put in any state.

    ``step`` gives ``info["success"]`` (bool, now) and ``info["reward_terms"]`` (dict of floats).
    All randomness comes from ``reset(seed=)``.

    Read where they are there, and unknown where they are None: ``horizon`` (control steps after
    which an episode is truncated), ``mujoco_state_size`` (how many leading entries of a state are
    time, qpos and qvel), ``metadata`` and ``render_mode``, which are gymnasium's.
    """

    interface: Spec

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; ``options={"state": state}`` begins it in a stored state [S]."""

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply an action float32 [A] for one control period."""

    def get_state(self) -> np.ndarray:
        """Give the state float64 [S] from which ``set_state`` restarts bit-exactly."""

    def set_state(self, state: np.ndarray) -> Observation:
        """Restore what ``get_state`` gave; return the observation there."""

    def close(self) -> None:
        """Free the simulator; calling it again does nothing."""


@runtime_checkable
class VectorEnvironment(Protocol):
    """N environments that step together: a ``gymnasium.vector.VectorEnv``, as from ``make_vec``.

    ``step`` gives ``info["success"]`` [N] and ``info["reward_terms"]`` (name -> [N]).
    """

    interface: Spec
    num_envs: int
    horizon: int | None
    """Control steps after which an episode is truncated; None: never, or nobody knows."""

    def reset(
        self, *, seed: Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes in the rows of ``options["reset_mask"]`` [N] bool, else in all.

        ``options["state"]`` [N, S] begins them in stored states. Gives all observations [N, ...].
        """

    def step(
        self, actions: np.ndarray, active: np.ndarray | None = None, *, autoreset: bool = True
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply actions float32 [N, A]; rows that are not ``active`` [N] bool stay as they are.

        A row whose episode ends is reset at once, and the observation is then the next episode's;
        without ``autoreset`` it stays where it ended.
        """

    def get_state(self) -> np.ndarray:
        """Give the states float64 [N, S], each that of the single environment."""

    def close(self) -> None:
        """Free the simulators; calling it again does nothing."""


@runtime_checkable
class Policy(Protocol):
    """Whatever chooses actions: a learner, a scripted operator, a teleoperation device.

    One whose actions depend on the present observation alone says so with ``memoryless = True``:
    it may then act in many episodes that begin and end at different times. Of any other, episodes
    that run at the same time need one each.
    """

    def reset(self, n: int) -> None:
        """Begin n episodes at once; forget all memory of earlier ones."""

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, A] in [-1, 1] for observations name -> [N, ...]."""


@runtime_checkable
class Chunking(Policy, Protocol):
    """A policy that can also be asked for the actions of several control steps at once.

    ``act`` goes on giving single ones. The verb ``deploy`` carries chunks out where it is told to.
    """

    def act_chunk(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, H, A] for the next H steps, of which the first is now."""


@runtime_checkable
class Learner(Policy, Protocol):
    """A policy that improves itself from batches; ``eats`` says of which kind."""

    eats: str  # "transitions" | "sequences" | "rollouts" | "replay"

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Take one optimisation step; return named scalars to log."""

    def state_dict(self) -> dict[str, Any]:
        """Give everything that ``load_state_dict`` needs, normalisers included, as tensors."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""


@runtime_checkable
class RewardStream(Protocol):
    """One of the rewards that a policy earns at once; a multi-critic method values each by itself.

    A batch is a mapping of tensors, their leading axes [...] those of the transitions in it:
    "observations" and "next_observations", themselves mappings with "state" [..., O]; "actions"
    [..., A]; "skills" [..., Z], if there are any; "reward_terms", a mapping of names to [...].
    """

    name: str

    def reward(self, batch: Mapping[str, Any]) -> Any:
        """Give the reward of every transition, a tensor [...]."""

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Learn from a batch, if there is anything to learn; return named scalars to log."""

    def state_dict(self) -> dict[str, Any]:
        """Give everything that going on depends on, as tensors."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
