"""Batches of environments: ``sim.make_vec(name, n, **options)``.

Every batch is a ``gymnasium.vector.VectorEnv`` with SAME_STEP autoreset: an environment whose
episode ends is reset within the same ``step``, which returns the first observation of the next
episode; ``info["final_obs"]`` and ``info["final_info"]`` hold the last of the ended one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from robolearn.errors import SpecError, UserError
from robolearn.types import Environment, Observation, Spec
from sim.registry import make
from sim.spaces import checked_action


class Moves(NamedTuple):
    """What one step of a batch of N environments gave, before any of them is reset."""

    observations: Observation  # name -> [N, ...]
    reward: np.ndarray  # [N] float64
    terminated: np.ndarray  # [N] bool
    truncated: np.ndarray  # [N] bool
    success: np.ndarray  # [N] bool
    terms: dict[str, np.ndarray]  # name -> [N]
    errors: dict[int, str]  # environments that cannot go on, and why


class WorkerError(Exception):
    """An environment of a batch raised something; the message begins with its index."""


class VectorEnv(gymnasium.vector.VectorEnv):
    """N environments with one interface; subclasses say how one is reset and how all are moved.

    ``info["success"]`` [N], ``info["is_success"]`` [N] and ``info["reward_terms"]`` (name -> [N])
    describe the step also where the episode ended with it. An environment that cannot go on, for
    instance because its simulation diverged, ends its episode as truncated with the reason in
    ``info["error"]`` [N].
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}

    def __init__(self, interface: Spec, template: Any, n: int, threads: int) -> None:
        self.interface = interface
        self.num_envs = n
        self.single_observation_space = template.observation_space
        self.single_action_space = template.action_space
        self.observation_space = batch_space(template.observation_space, n)
        self.action_space = batch_space(template.action_space, n)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="sim")

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode everywhere.

        An integer ``seed`` gives environment i the seed ``seed + i``; a sequence gives one each.
        ``options={"state": states}`` begins in stored states [N, S].
        """
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed
        seeds = [None] * self.num_envs if seeds is None else list(seeds)
        if len(seeds) != self.num_envs:
            raise SpecError(f"{len(seeds)} seeds for {self.num_envs} environments")
        for i, one in enumerate(seeds):
            self._seed(i, one)
        if options and "state" in options:
            return self.set_state(options["state"]), {}
        self._each(self._reset)
        return self._observe(), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply actions float32 [N, A] for one control period, each in its environment.

        Raises SpecError or DataError, before anything moves, for actions of another shape or that
        are not finite.
        """
        if len(actions) != self.num_envs:
            raise SpecError(f"{len(actions)} actions for {self.num_envs} environments")
        moves = self._move(np.stack([checked_action(a, self.interface) for a in actions]))
        truncated = moves.truncated.copy()
        truncated[list(moves.errors)] = True
        ended = np.flatnonzero(moves.terminated | truncated)
        info = self._info(moves, range(self.num_envs))
        observations = moves.observations
        if ended.size:
            info |= self._final(moves, ended)
            for i in ended:
                self._guarded(self._reset, int(i))
            observations = self._observe()
        return observations, moves.reward, moves.terminated, truncated, info

    def get_state(self) -> np.ndarray:
        """Give the states float64 [N, S], the same as the single environment's."""
        return np.stack([self._get_state(i) for i in range(self.num_envs)])

    def set_state(self, states: np.ndarray) -> Observation:
        """Restore what ``get_state`` gave, bit for bit; return the observations there."""
        if len(states) != self.num_envs:
            raise SpecError(f"{len(states)} states for {self.num_envs} environments")
        for i, state in enumerate(states):
            self._set_state(i, state)
        return self._observe()

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads, after a step that is under way, and free the simulators."""
        self._pool.shutdown(wait=True)

    def _seed(self, i: int, seed: int | None) -> None:
        raise NotImplementedError

    def _reset(self, i: int) -> None:
        raise NotImplementedError

    def _move(self, actions: np.ndarray) -> Moves:
        raise NotImplementedError

    def _observe(self) -> Observation:
        raise NotImplementedError

    def _get_state(self, i: int) -> np.ndarray:
        raise NotImplementedError

    def _set_state(self, i: int, state: np.ndarray) -> None:
        raise NotImplementedError

    def _each(self, function: Callable[[int], None]) -> None:
        for i in range(self.num_envs):
            self._guarded(function, i)

    def _guarded(self, function: Callable[..., Any], i: int, *arguments: Any) -> Any:
        try:
            return function(i, *arguments)
        except UserError:
            raise
        except Exception as error:
            raise WorkerError(f"environment {i}: {error!r}") from error

    def _in_parallel(self, function: Callable[[int], None]) -> None:
        """Call a function for every environment, environment i on thread i modulo threads."""

        def run(thread: int) -> None:
            for i in range(thread, self.num_envs, self._threads):
                self._guarded(function, i)

        for future in [self._pool.submit(run, t) for t in range(self._threads)]:
            future.result()

    def _info(self, moves: Moves, rows: Any) -> dict[str, Any]:
        """Lay infos out as gymnasium does: arrays [N], and under ``_key`` where they count."""
        mask = np.zeros(self.num_envs, bool)
        mask[list(rows)] = True
        terms = {name: np.where(mask, value, 0.0) for name, value in moves.terms.items()}
        terms |= {f"_{name}": mask for name in moves.terms}
        success = moves.success & mask
        info = {"success": success, "is_success": success, "reward_terms": terms}
        info |= {f"_{key}": mask for key in tuple(info)}
        failed = {i: why for i, why in moves.errors.items() if mask[i]}
        if failed:
            info["error"] = np.full(self.num_envs, None, object)
            info["_error"] = np.zeros(self.num_envs, bool)
            for i, why in failed.items():
                info["error"][i], info["_error"][i] = why, True
        return info

    def _final(self, moves: Moves, ended: np.ndarray) -> dict[str, Any]:
        mask = np.zeros(self.num_envs, bool)
        mask[ended] = True
        last = np.full(self.num_envs, None, object)
        for i in ended:
            last[i] = {name: value[i].copy() for name, value in moves.observations.items()}
        info = self._info(moves, ended)
        return {"final_obs": last, "_final_obs": mask, "final_info": info, "_final_info": mask}


class ManyEnvs(VectorEnv):
    """N environments of any kind, each a whole ``sim.make``, on threads."""

    def __init__(self, envs: list[Environment], threads: int) -> None:
        super().__init__(envs[0].interface, envs[0], len(envs), threads)
        self.envs = envs
        self._seeds: list[int | None] = [None] * len(envs)
        self._latest: list[Observation] = [{}] * len(envs)

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads and close the environments."""
        super().close_extras(**kwargs)
        for env in self.envs:
            env.close()

    def _seed(self, i: int, seed: int | None) -> None:
        self._seeds[i] = seed

    def _reset(self, i: int) -> None:
        self._latest[i], _ = self.envs[i].reset(seed=self._seeds[i])
        self._seeds[i] = None

    def _move(self, actions: np.ndarray) -> Moves:
        results: list[Any] = [None] * self.num_envs

        def step(i: int) -> None:
            results[i] = self.envs[i].step(actions[i])

        self._in_parallel(step)
        self._latest, reward, terminated, truncated, infos = map(list, zip(*results, strict=True))
        names = infos[0]["reward_terms"]
        return Moves(
            self._observe(), np.array(reward, float), np.array(terminated), np.array(truncated),
            np.array([info["success"] for info in infos]),
            {name: np.array([info["reward_terms"][name] for info in infos]) for name in names},
            {i: info["error"] for i, info in enumerate(infos) if "error" in info},
        )  # fmt: skip

    def _observe(self) -> Observation:
        names = self.single_observation_space.keys()
        return {name: np.stack([one[name] for one in self._latest]) for name in names}

    def _get_state(self, i: int) -> np.ndarray:
        return self.envs[i].get_state()

    def _set_state(self, i: int, state: np.ndarray) -> None:
        self._latest[i] = self.envs[i].set_state(state)


def make_vec(name: str, n: int, threads: int | None = None, **options: Any) -> VectorEnv:
    """Make n environments called ``name`` that step together; options as for ``make``.

    ``threads`` run them, one per processor by default. robosuite's common tasks share one model and
    are evaluated as arrays; any other environment is made n times. Raises UserError for what
    ``make`` does not take and for a count below 1.
    """
    threads = len(os.sched_getaffinity(0)) if threads is None else threads
    for what, count in (("n", n), ("threads", threads)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UserError(f"{name}: {what}={count!r} must be a whole number above 0")
    threads = min(threads, n)
    template = make(name, **options)
    if name.startswith("robosuite/"):
        from sim.vector_robosuite import RobosuiteVectorEnv, why_not

        if why_not(template) is None:
            return RobosuiteVectorEnv(template, n, threads)
    return ManyEnvs([template, *(make(name, **options) for _ in range(n - 1))], threads)
