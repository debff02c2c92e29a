"""Skills that were learnt, as actions: which skill moves an object where, and what the hand does.

A skill z was learnt to move an object o so that phi(o') - phi(o) points along z (LSD, METRA, and a
fixed metric alike). The skill that brings it to a goal g therefore needs no training:

    z = (phi(g) - phi(o)) / |phi(g) - phi(o)|     at every step

as in Park et al., "Lipschitz-constrained Unsupervised Skill Discovery" (ICLR 2022) and "METRA"
(ICLR 2024). The policy was learnt with one object in its state. Among several it is shown the one
that it shall move, under the name that it knows, and nothing of the others or of goals.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from robolearn.errors import SpecError, UserError
from robolearn.files import write_atomically
from robolearn.loops import checkpoint
from robolearn.names import load
from robolearn.rewards.base import Directed, Metric, MetricConfig
from robolearn.types import ArraySpec, Observation, Spec

SCRIPTED = "scripted"  # instead of a run
DISCOVERY = "discovery"  # the stream that rewards skills


class View(NamedTuple):
    """Where the entries that concern one object are in "state"."""

    policy: np.ndarray  # all that the policy sees, but z
    pose: np.ndarray  # o
    position: np.ndarray  # [3], x, y, z in metres
    axes: np.ndarray  # those of the three that skills are about


class FrozenSkills:
    """A policy pi(a | s, z) and its phi, for environments with the same robot and actions.

    The last entries of the state that the policy knows are z.
    """

    def __init__(self, policy: Any, phi: Any, interface: Spec):
        """Use ``policy`` and ``phi``, the stream that rewarded its skills, in environments with
        this interface; SpecError if their actions differ.
        """
        ours, theirs = policy.interface.action, interface.action
        if (ours.shape, ours.names, ours.scale) != (theirs.shape, theirs.names, theirs.scale):
            raise SpecError(f"{interface.environment} has other actions than the skills")
        state = policy.interface.observations["state"]
        self.size = len(state.index("skill"))  # Z
        self._policy, self._phi, self._interface = policy, phi, interface
        self._names = state.names[: -self.size]
        self._known_as = self._names[int(self._phi.index[0])].split("_")[0]  # "cube"
        self._views: dict[str, View] = {}

    def act(self, observation: Observation, z: np.ndarray, name: str) -> np.ndarray:
        """Choose actions float32 [N, A] of skills z [N, Z] on the object called ``name``."""
        seen = observation["state"][:, self.view(name).policy]
        return self._policy.act({"state": np.concatenate([seen, z], axis=1, dtype=np.float32)})

    def skill(self, choice: np.ndarray) -> np.ndarray:
        """Give the skills z [N, Z] that are nearest to any numbers [N, Z]."""
        return nearest_skill(self._phi, choice, self.size)

    def towards(self, observation: Observation, goal: np.ndarray, name: str) -> np.ndarray:
        """Give the skills z [N, Z] that bring an object to ``goal`` [N, 3], x, y, z in metres."""
        if not isinstance(self._phi, Directed):
            raise UserError(f"skills of '{self._phi.name}' are no directions: none leads to a goal")
        view, state = self.view(name), observation["state"]
        wanted = state.copy()
        wanted[:, view.position] = goal
        here, there = self._phi.phi(torch.as_tensor(np.stack([state, wanted])[..., view.pose]))
        return self.skill((there - here).numpy())

    def distance(self, observation: Observation, goal: np.ndarray, name: str) -> np.ndarray:
        """Give an object's distance [N] from ``goal`` [N, 3], metres, as far as skills can tell.

        Height does not count, for instance, if phi does not depend on it.
        """
        view = self.view(name)
        if not len(view.axes):
            raise UserError(f"skills: they are not about the position of '{name}'")
        away = observation["state"][:, view.position] - goal
        return np.linalg.norm(away[:, view.axes], axis=1)

    def view(self, name: str) -> View:
        """Find the entries of an object; SpecError if the policy knows some that are not there."""
        if name not in self._views:
            names = [self._renamed(entry, name) for entry in self._names]
            about = f"skills that move '{self._known_as}'"
            policy = _columns(self._interface, names, about)
            position = _columns(self._interface, [f"{name}_pos_{axis}" for axis in "xyz"], about)
            pose = policy[self._phi.index.numpy()]
            axes = np.flatnonzero(np.isin(position, pose))
            self._views[name] = View(policy, pose, position, axes)
        return self._views[name]

    def _renamed(self, entry: str, name: str) -> str:
        known_as, _, rest = entry.partition("_")
        return f"{name}_{rest}" if known_as == self._known_as else entry


def nearest_skill(phi: Any, choice: np.ndarray, size: int) -> np.ndarray:
    """Give the skills z [N, Z] of a stream that are nearest to any numbers [N, Z]; Z = ``size``."""
    numbers = torch.as_tensor(choice, dtype=torch.float32)
    if isinstance(phi, Directed):
        return F.normalize(numbers, dim=-1).numpy()
    return F.one_hot(numbers.argmax(dim=-1), size).float().numpy()


def _columns(interface: Spec, names: Sequence[str], who: str) -> np.ndarray:
    state: ArraySpec = interface.observations["state"]
    missing = [name for name in names if name not in state.names]
    if missing:
        raise SpecError(f"{interface.environment} does not show '{missing[0]}', which {who} need")
    return np.array([state.names.index(name) for name in names])


def load_skills(path: str, interface: Spec) -> FrozenSkills:
    """Read the skills of a run, or of the newest run in a folder; UserError if there are none.

    ``"scripted"`` gives those of ``scripted_skills``.
    """
    if path == SCRIPTED:
        return scripted_skills(interface)
    folder = newest_skills(path)
    learner = load_learnt(folder)
    if DISCOVERY not in learner.streams:
        raise UserError(f"skills: {folder} was trained without '{DISCOVERY}', so it has no skills")
    return FrozenSkills(learner, learner.streams[DISCOVERY], interface)


def load_learnt(folder: Path) -> Any:
    """Read the SLIM of a checkpoint; UserError if it is of another learner."""
    learner = checkpoint.load_policy(folder, checkpoint.read_spec(folder))
    if learner.name != "slim":
        raise UserError(f"skills: {folder} holds a policy of '{learner.name}', which has no skills")
    return learner


def newest_skills(path: str) -> Path:
    """Give the checkpoint of a run, or of the newest in a folder; UserError if there is none."""
    folder = checkpoint.newest(Path(path))
    if not checkpoint.exists(folder):
        made = "`robolearn slim_tabletop` learns some, in runs/slim_tabletop"
        raise UserError(f"skills: no checkpoint in {path}; {made}")
    return folder


def settle(path: str, file: Path) -> str:
    """Give the very skills that a run uses: the newest at ``path`` when it began, written to
    ``file``; UserError if a run that goes on would find others there.
    """
    if path == SCRIPTED:
        return path
    if file.exists():
        used = json.loads(file.read_text())
    else:
        used = {"skills": str(newest_skills(path))}
    weights = Path(used["skills"]) / "weights.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else None
    if digest is None or used.setdefault("sha256", digest) != digest:
        raise UserError(f"skills: those in {used['skills']} are no more what this run began with")
    write_atomically(file, json.dumps(used).encode())
    return used["skills"]


def scripted_skills(interface: Spec) -> FrozenSkills:
    """Make skills that carry a tabletop's object along z: what uses skills can do no better."""
    names = interface.observations["state"].names
    objects = [name.removesuffix("_xaxis_x") for name in names if name.endswith("_xaxis_x")]
    if not objects:
        raise SpecError(f"{interface.environment} shows no object of a tabletop")
    name = objects[0]
    policy = load("sim.tabletop.carry:ScriptedCarry")(interface, name)
    phi = Metric(policy.interface, MetricConfig(entries=(f"{name}_pos",), weights=(1.0, 1.0, 1.0)))
    return FrozenSkills(policy, phi, interface)


def goals_of(interface: Spec) -> dict[str, np.ndarray]:
    """Find the goals in "state": name of an object -> entries [3], x, y, z in metres."""
    names = interface.observations["state"].names
    found = [n.removeprefix("goal_").removesuffix("_pos_x") for n in names if n.endswith("_pos_x")]
    objects = [name for name in found if f"goal_{name}_pos_x" in names]
    if not objects:
        raise SpecError(f"{interface.environment} shows no goals")
    return {name: interface.observations["state"].index(f"goal_{name}_pos") for name in objects}
