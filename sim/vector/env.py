"""What all batches of environments share; ``sim.make_vec`` makes them.

Every batch is a ``gymnasium.vector.VectorEnv``. What follows the end of an episode is its
``autoreset_mode``, one of gymnasium's:

- SAME_STEP: the same ``step`` resets it and gives the first observation of the next episode;
  ``info["final_obs"]`` and ``info["final_info"]`` hold the last of the ended one.
- NEXT_STEP: the next ``step`` resets it instead of applying its action, with reward 0.
- DISABLED: it stays where it ended until ``reset(options={"reset_mask": mask})``.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from robolearn.errors import SpecError, UserError
from robolearn.types import Observation
from sim.base.env import warn_unrendered
from sim.base.options import choose, reset_options, whole_number
from sim.base.spaces import float_array, interface_spaces, require_finite
from sim.vector.kind import Kind

RESET_OPTIONS = ("reset_mask", "state")
ALL = slice(None)  # rows


class Moves(NamedTuple):
    """What one step of a batch of N environments gave, before any that has ended is reset.

    Observations are those of all; of the rest only the rows that were moved count. The arrays go to
    whoever called ``step``: nothing may write into them later, and ``reward`` may be none of the
    terms.
    """

    observations: Observation  # name -> [N, ...]
    reward: np.ndarray  # [N] float64
    terminated: np.ndarray  # [N] bool
    truncated: np.ndarray  # [N] bool
    success: np.ndarray  # [N] bool
    terms: dict[str, np.ndarray]  # name -> [N]
    errors: dict[int, str]  # environments that cannot go on, and why


class WorkerError(Exception):
    """An environment of a batch raised something; the message begins with its index.

    Some of the others may not have moved: reset the batch before it goes on.
    """


def autoreset_mode_of(mode: AutoresetMode | str, where: str) -> AutoresetMode:
    """Give the mode of that name, "same_step" and so on; raise UserError if there is none."""
    if isinstance(mode, AutoresetMode):
        return mode
    modes = {one.name.lower(): one for one in AutoresetMode}
    return modes[choose(mode, modes, where, "autoreset_mode")]


class VectorEnv(gymnasium.vector.VectorEnv):
    """N environments with one interface; subclasses say how one is reset and how some are moved.

    ``info["success"]`` [N], ``info["is_success"]`` [N] and ``info["reward_terms"]`` (name -> [N])
    describe the step also where the episode ended with it. An environment that cannot go on, for
    instance because its simulation diverged, ends its episode as truncated with the reason in
    ``info["error"]`` [N]. ``horizon`` is the number of control steps after which an episode is
    truncated, None where there is no such number.

    A batch belongs to the process that made it: threads do not survive a fork. One thread may use
    it at a time; others, also one that closes it, wait. Raises UserError where it is closed.
    """

    def __init__(self, kind: Kind, n: int, threads: int) -> None:
        self.interface, self.num_envs, self.horizon = kind.interface, n, kind.horizon
        self._state_size = kind.state_size
        self.mujoco_state_size = kind.mujoco_state_size  # entries of a state: time, qpos, qvel
        self.single_observation_space, self.single_action_space = interface_spaces(self.interface)
        self.observation_space = batch_space(self.single_observation_space, n)
        self.action_space = batch_space(self.single_action_space, n)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="sim")
        self._process, self._lock = os.getpid(), threading.RLock()
        self._begun = np.zeros(n, bool)  # whether an environment has ever been reset
        self._ended = np.zeros(n, bool)  # whether its episode has ended, and none begun since
        self.metadata = {"render_modes": kind.render_modes}
        self.autoreset_mode = AutoresetMode.SAME_STEP
        self.render_mode = kind.render_mode
        if kind.render_fps is not None:
            self.metadata = self.metadata | {"render_fps": kind.render_fps}

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """What follows the end of an episode; ``metadata`` says the same."""
        return self._autoreset_mode

    @autoreset_mode.setter
    def autoreset_mode(self, mode: AutoresetMode | str) -> None:
        self._autoreset_mode = autoreset_mode_of(mode, self.interface.environment)
        self.metadata = self.metadata | {"autoreset_mode": self._autoreset_mode}

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode everywhere, or where ``options={"reset_mask": mask}`` [N] bool says.

        An integer ``seed`` gives environment i the seed ``seed + i``; a sequence gives one each.
        ``options={"state": states}`` begins in stored states [N, S]. Rows that are not reset stay
        as they are, and their seeds and states are not looked at. Gives the observations of all.
        Raises SpecError or UserError for unknown options and for seeds that are none.
        """
        options = reset_options(options, RESET_OPTIONS, self.interface.environment)
        rows = self._rows(options.get("reset_mask"), "reset_mask")
        seeds = self._chosen_seeds(seed, rows)
        with self._in_use():
            begun = "state" in options
            states = self._checked_states(options["state"], rows) if begun else None
            for i in rows:
                self._seed(i, seeds[i])
            if states is None:
                self._reset_rows(rows)
            else:
                self._set_rows(states, rows)
            self._begun[rows], self._ended[rows] = True, False
            return self._observe(), {}

    def step(
        self, actions: np.ndarray, active: np.ndarray | None = None, *, autoreset: bool = True
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply actions float32 [N, A] for one control period, each in its environment.

        Where ``active`` [N] bool is False an environment stays exactly as it is: its action is not
        looked at, its reward is 0, its episode does not end. Without ``autoreset`` this step resets
        nothing, whatever the mode: an environment whose episode ends stays there. Raises SpecError
        or DataError, before anything moves, for actions of another shape or that are not finite,
        and UserError for an environment that has never been reset or, where autoreset is disabled,
        has ended.
        """
        rows = self._rows(active, "active")
        with self._in_use():
            self._require_begun(rows, "its first step")
            due, rows = self._due(rows, autoreset)
            actions = self._checked(actions, rows)
            if due:
                self._begin_anew(due)
            moves = self._only(rows, self._move(actions, rows))
            truncated = moves.truncated
            if moves.errors:
                truncated[list(moves.errors)] = True
            ended = np.flatnonzero(moves.terminated | truncated).tolist()
            info = self._info(moves, rows)
            self._ended[ended] = True
            observations = moves.observations
            if ended and autoreset and self.autoreset_mode == AutoresetMode.SAME_STEP:
                info |= self._final(moves, ended)
                self._begin_anew(ended)
                observations = self._observe()
            return observations, moves.reward, moves.terminated, truncated, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Draw the present states for people: N images uint8 [H, W, 3].

        Gives None, with a warning, where the batch was made without ``render_mode``. Raises
        UserError for an environment that has never been reset and where no GL library works.
        """
        with self._in_use():
            self._require_begun(ALL, "it is rendered")
            if self.render_mode is None:
                warn_unrendered(self.interface.environment, "make_vec")
                return None
            return tuple(self._render())

    def get_state(self) -> np.ndarray:
        """Give the states float64 [N, S], the same as the single environment's.

        Raises UserError for an environment that has never been reset.
        """
        with self._in_use():
            self._require_begun(ALL, "its state is read")
            return np.stack(self._get_rows())

    def set_state(self, states: np.ndarray) -> Observation:
        """Restore what ``get_state`` gave, bit for bit; return the observations there.

        Raises SpecError for states of another shape and DataError for some that are not finite.
        """
        with self._in_use():
            rows = self._rows(None, "")
            self._set_rows(self._checked_states(states, rows), rows)
            self._begun[:], self._ended[:] = True, False
            return self._observe()

    def close(self, **kwargs: Any) -> None:
        """Stop the threads, after a step that is under way, and free the simulators.

        Closing again does nothing, nor does closing in a process that has not made the batch.
        """
        if os.getpid() == self._process:
            with self._lock:
                super().close(**kwargs)

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=True)

    def _seed(self, i: int, seed: int | None) -> None:
        raise NotImplementedError

    def _reset(self, i: int) -> None:
        raise NotImplementedError

    def _reset_rows(self, rows: list[int]) -> None:
        for i in rows:
            self._guarded(self._reset, i)

    def _move(self, actions: np.ndarray, rows: list[int]) -> Moves:
        """Move some environments under float64 actions [N, A] in [-1, 1], and leave the others."""
        raise NotImplementedError

    def _observe(self) -> Observation:
        raise NotImplementedError

    def _render(self) -> list[np.ndarray]:
        """Draw all environments of a batch that was made with ``render_mode``."""
        raise NotImplementedError

    def _get_state(self, i: int) -> np.ndarray:
        raise NotImplementedError

    def _get_rows(self) -> list[np.ndarray]:
        return [self._get_state(i) for i in range(self.num_envs)]

    def _set_state(self, i: int, state: np.ndarray) -> None:
        raise NotImplementedError

    def _set_rows(self, states: np.ndarray, rows: Iterable[int]) -> None:
        """Restore states float64 [N, S] that have been checked in some rows."""
        for i in rows:
            self._set_state(i, np.ascontiguousarray(states[i]))

    def _checked_states(self, states: np.ndarray, rows: list[int]) -> np.ndarray:
        """Give states as float64 [N, S]; those of other rows are not looked at."""
        where, size = self.interface.environment, self._state_size
        states = float_array(states, where, "states")
        if states.ndim != 2 or states.shape != (self.num_envs, size or states.shape[1]):
            right = f"({self.num_envs}, {size or 'S'})"
            raise SpecError(f"{where}: states have shape {states.shape} instead of {right}")
        if size is not None:  # else the environments know what may be in a state
            seen = states
            if len(rows) < self.num_envs:
                seen = np.where(self._mask(rows)[:, None], states, 0.0)
            require_finite(seen, where, "states")
        return states

    def _chosen_seeds(
        self, seed: int | Sequence[int | None] | None, rows: list[int]
    ) -> dict[int, int | None]:
        """Give the seed of every one of these environments, or None."""
        where = self.interface.environment
        if seed is None:
            return dict.fromkeys(rows)
        several = isinstance(seed, Sequence) and not isinstance(seed, str)
        if not several and np.ndim(seed) == 0:
            first = whole_number(seed, where, "seed", least=0)
            return {i: first + i for i in rows}
        if len(seed) != self.num_envs:
            raise SpecError(f"{len(seed)} seeds for {self.num_envs} environments")
        return {
            i: None if seed[i] is None else whole_number(seed[i], where, f"seed[{i}]", least=0)
            for i in rows
        }

    def _require_begun(self, rows: list[int] | slice, what: str) -> None:
        if not self._begun.all() and not self._begun[rows].all():
            where = self.interface.environment
            raise UserError(f"{where}: reset the batch before {what}")

    def _due(self, rows: list[int], autoreset: bool) -> tuple[list[int], list[int]]:
        """Give those of sorted rows that a step resets instead of moving, and those it moves."""
        if self.autoreset_mode == AutoresetMode.SAME_STEP or not self._ended[rows].any():
            return [], rows
        ended = np.flatnonzero(self._ended & self._mask(rows)).tolist()
        if self.autoreset_mode == AutoresetMode.DISABLED:
            raise UserError(
                f"{self.interface.environment}: {len(ended)} of {self.num_envs} environments have "
                f"ended, the first is {ended[0]}; before the next step, reset them by "
                'options={"reset_mask": mask}, or leave them out of active'
            )
        return (ended, [i for i in rows if not self._ended[i]]) if autoreset else ([], rows)

    def _begin_anew(self, rows: list[int]) -> None:
        self._reset_rows(rows)
        self._ended[rows] = False

    def _rows(self, mask: np.ndarray | None, name: str) -> list[int]:
        """Give the indices of the environments that a mask [N] bool lets through; all for None."""
        if mask is None:
            return list(range(self.num_envs))
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != bool:
            raise SpecError(
                f"{name}: {mask.dtype} {mask.shape} instead of bool ({self.num_envs},), "
                "one for each environment"
            )
        return np.flatnonzero(mask).tolist()

    def _checked(self, actions: np.ndarray, rows: list[int]) -> np.ndarray:
        """Give actions as float64 [N, A] within [-1, 1]; those of other rows are zeros."""
        where = self.interface.environment
        actions = float_array(actions, where, "actions")
        right = (self.num_envs, *self.interface.action.shape)
        if actions.shape != right:
            raise SpecError(f"{where}: actions have shape {actions.shape} instead of {right}")
        if len(rows) < self.num_envs:
            actions = np.where(self._mask(rows)[:, None], actions, 0.0)
        if (np.abs(actions) <= 1).all():
            return actions
        require_finite(actions, where, "action")
        return np.clip(actions, -1, 1)

    def _mask(self, rows: list[int]) -> np.ndarray:
        """Give the mask [N] that lets these environments through."""
        if len(rows) == self.num_envs:
            return np.ones(self.num_envs, bool)
        mask = np.zeros(self.num_envs, bool)
        mask[rows] = True
        return mask

    def _only(self, rows: list[int], moves: Moves) -> Moves:
        """Blank out what a step says of other environments than these."""
        if len(rows) == self.num_envs:
            return moves
        mask = self._mask(rows)
        return Moves(
            observations=moves.observations,
            reward=np.where(mask, moves.reward, 0.0),
            terminated=moves.terminated & mask,
            truncated=moves.truncated & mask,
            success=moves.success & mask,
            terms={name: np.where(mask, value, 0.0) for name, value in moves.terms.items()},
            errors={i: why for i, why in moves.errors.items() if mask[i]},
        )

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        """Keep other threads out."""
        where = f"{self.interface.environment}: this batch of {self.num_envs} environments"
        if os.getpid() != self._process:
            raise UserError(
                f"{where} belongs to the process that made it; make one in this process"
            )
        with self._lock:
            if self.closed:
                raise UserError(f"{where} is closed; make another")
            yield

    def _guarded(self, function: Callable[..., Any], i: int, *arguments: Any) -> Any:
        try:
            return function(i, *arguments)
        except UserError:
            raise
        except Exception as error:
            raise WorkerError(f"environment {i}: {error!r}") from error

    def _in_parallel(self, function: Callable[[int], None], rows: Iterable[int]) -> None:
        """Call a function for every row, each thread taking the next as soon as it is free."""
        left = iter(rows)  # a list's: taking from it is atomic

        def run() -> None:
            for i in left:
                self._guarded(function, i)

        futures = [self._pool.submit(run) for _ in range(self._threads)]
        try:
            for future in futures:
                future.result()
        finally:
            wait(futures)  # after an error or Ctrl-C too: no thread works on behind our back

    def _info(self, moves: Moves, rows: list[int]) -> dict[str, Any]:
        """Lay infos out as gymnasium does: arrays [N], and under ``_key`` where they count."""
        mask = self._mask(rows)
        terms = moves.terms | {f"_{name}": mask for name in moves.terms}
        info = {"success": moves.success, "is_success": moves.success, "reward_terms": terms}
        info |= {f"_{key}": mask for key in tuple(info)}
        if moves.errors:
            info["error"] = np.full(self.num_envs, None, object)
            info["_error"] = np.zeros(self.num_envs, bool)
            for i, why in moves.errors.items():
                info["error"][i], info["_error"][i] = why, True
        return info

    def _final(self, moves: Moves, ended: list[int]) -> dict[str, Any]:
        mask = self._mask(ended)
        last = np.full(self.num_envs, None, object)
        for i in ended:
            last[i] = {name: value[i].copy() for name, value in moves.observations.items()}
        info = self._info(self._only(ended, moves), ended)
        return {"final_obs": last, "_final_obs": mask, "final_info": info, "_final_info": mask}
