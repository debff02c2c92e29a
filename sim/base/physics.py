"""A MuJoCo state as one vector, and derived quantities that describe it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

import mujoco
import numpy as np

# mj_getState writes its parts in the order of their bits: time, qpos, qvel, then activations, warm
# start, controls, applied forces, equality flags, mocap poses, user data and plugin state.
INTEGRATION = mujoco.mjtState.mjSTATE_INTEGRATION
DIVERGED = tuple(
    int(getattr(mujoco.mjtWarning, f"mjWARN_{name}"))
    for name in ("BADQPOS", "BADQVEL", "BADQACC", "BADCTRL")
)


def refresh(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    done: mujoco.mjtStage = mujoco.mjtStage.mjSTAGE_NONE,
) -> None:
    """Recompute all that follows from the state (poses, contacts, sensors); leave the state alone.

    After a step MuJoCo's derived quantities still belong to the moment before the last
    integration. ``mj_forward`` also overwrites the solver's warm start, which is state: it is put
    back, so that looking changes nothing. What belongs to stages up to ``done`` is left as it is.
    """
    warm_start = data.qacc_warmstart.copy()
    mujoco.mj_forwardSkip(model, data, done, False)
    data.qacc_warmstart[:] = warm_start


def divergence(warnings: np.ndarray, fatal: Sequence[int] = DIVERGED) -> str | None:
    """Say what MuJoCo found wrong, from its counts of warnings [kinds] since the last reset."""
    found = [mujoco.mjtWarning(kind).name for kind in fatal if warnings[kind]]
    return f"the simulation diverged ({', '.join(found)})" if found else None


def log_warnings() -> None:
    """Have MuJoCo's warnings logged by Python, unless somebody takes care of them already.

    By itself MuJoCo also writes them to MUJOCO_LOG.TXT in the working directory, whatever that is.
    """
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(logging.getLogger(__name__).warning)


class Physics:
    """Reads and writes the state float64 [S] of one model and data, model fields included.

    Some tasks write into the model when they reset (a door's place, a target's position). The
    entries that ``resets`` change are found once, by comparing models after a few resets; they are
    part of the state. Nothing else in the model may change during an episode.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        log_warnings()
        self.model, self.data = model, data
        self.mujoco_state_size = 1 + model.nq + model.nv  # time, qpos, qvel
        self._integration_size = mujoco.mj_stateSize(model, INTEGRATION)
        self._varying: list[tuple[np.ndarray, np.ndarray]] = []  # flat view, indices into it
        self._names: list[str] = []  # of the arrays in ``_varying``

    @property
    def size(self) -> int:
        """Number of entries of the state."""
        return self._integration_size + sum(len(indices) for _, indices in self._varying)

    @property
    def changes_model(self) -> bool:
        """Whether resets write into the model, so that a model belongs to one simulation."""
        return bool(self._varying)

    def watch(self, resets: Iterable[Callable[[], object]]) -> None:
        """Call every reset, and make the model entries in which they differ part of the state."""
        first: dict[str, np.ndarray] = {}
        differing: dict[str, np.ndarray] = {}
        for reset in resets:
            reset()
            if not first:
                first = {name: flat.copy() for name, flat in _arrays(self.model)}
            for name, flat in _arrays(self.model):
                differs = flat != first[name]
                if differs.any():
                    differing[name] = differs | differing.get(name, False)
        for name, differs in sorted(differing.items()):
            self._varying.append((getattr(self.model, name).reshape(-1), np.flatnonzero(differs)))
            self._names.append(name)

    def like(self, model: mujoco.MjModel, data: mujoco.MjData) -> Physics:
        """Give the same for another data, and for the same model or a copy of it."""
        other = Physics(model, data)
        other._names = self._names
        for name, (_, indices) in zip(self._names, self._varying, strict=True):
            other._varying.append((getattr(model, name).reshape(-1), indices))
        return other

    def get_state(self) -> np.ndarray:
        """Give the state [S]: mjSTATE_INTEGRATION, then the model entries that resets change."""
        state = np.empty(self.size)
        mujoco.mj_getState(self.model, self.data, state[: self._integration_size], INTEGRATION)
        start = self._integration_size
        for flat, indices in self._varying:
            state[start : start + len(indices)] = flat[indices]
            start += len(indices)
        return state

    def set_state(self, state: np.ndarray) -> None:
        """Restore what ``get_state`` gave and recompute everything that follows from it.

        What went wrong before is forgotten (``divergence``).
        """
        start = self._integration_size
        for flat, indices in self._varying:
            flat[indices] = state[start : start + len(indices)]
            start += len(indices)
        mujoco.mj_setState(self.model, self.data, state[: self._integration_size], INTEGRATION)
        self.data.warning.number[:] = 0
        refresh(self.model, self.data)

    def divergence(self) -> str | None:
        """Say what has gone wrong since the last reset or ``set_state``, None if nothing has.

        Looks at the state as MuJoCo will at the next step; one that has diverged is reset by that.
        """
        mujoco.mj_checkPos(self.model, self.data)
        mujoco.mj_checkVel(self.model, self.data)
        return divergence(self.data.warning.number)


def _arrays(model: mujoco.MjModel) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, flat view) of every numeric array of the model."""
    for name in sorted(dir(model)):
        if name.startswith("_") or name in ("names", "paths", "text_data"):
            continue
        value = getattr(model, name)
        if isinstance(value, np.ndarray) and value.size and value.dtype.kind in "fiub":
            yield name, value.reshape(-1)
