"""Checkpoints: a folder that holds all of a learner, and nothing that runs code when it is read.

    config.yaml           the learner's name and configuration
    spec.json             what goes in and out of it
    weights.safetensors   networks and normalisers
    training/             to continue: state.safetensors (optimiser, noise, ...), counters.json,
                          and replay.safetensors, where it is kept
    policy/               of a learner that has another one in it: that one's checkpoint

A folder is written beside its place and renamed into it, so that there is always a whole one.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pydantic
import safetensors.numpy
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from robolearn import names
from robolearn.errors import DataError, UserError, nearest
from robolearn.files import sync
from robolearn.names import installed, load, load_own, published
from robolearn.settings import said, settings_of
from robolearn.types import Learner, Spec

NEEDED = ("config.yaml", "spec.json")  # in every checkpoint
COUNTERS = "counters.json"
REPLAY = "replay.safetensors"
WITHIN = "policy"
LEARNERS = {
    "dreamer": "robolearn.algos.dreamer:Dreamer",
    "infopower": "robolearn.algos.infopower:InfoPower",
    "bc": "robolearn.algos.bc:BehaviorCloning",
    "chunk_bc": "robolearn.algos.chunk_bc:ChunkCloning",
    "chunk_image_bc": "robolearn.algos.chunk_bc:ChunkImageCloning",
    "image_bc": "robolearn.algos.image_bc:ImageCloning",
    "decision_transformer": "robolearn.algos.decision_transformer:DecisionTransformer",
    "guarded": "robolearn.algos.detection:Guarded",
    "ppo": "robolearn.algos.ppo:PPO",
    "hard_bc": "robolearn.algos.hard_bc:HardCloning",
    "hard_ppo": "robolearn.algos.hard_ppo:HardPPO",
    "sac": "robolearn.algos.sac:SAC",
    "slim": "robolearn.algos.slim:SLIM",
}


class Storable(Learner, Protocol):
    """A Learner that a checkpoint can hold: all that a class of one's own needs for it.

    It is made anew as ``Class(interface, config)``, with the settings that the parameter ``config``
    is annotated with: a frozen dataclass of ``robolearn.settings.Settings``. Beside what is below
    it has, as every Learner, ``eats``, ``reset``, ``act``, ``update``, ``state_dict`` and
    ``load_state_dict``; all tensors are torch's. A class of learners that have another one in them
    has that as a property ``within``, and is made anew as ``Class(interface, config, within)``.
    """

    name: str  # of the class, under which checkpoints know it
    interface: Spec
    config: Any

    def training_state(self) -> dict[str, Tensor]:
        """Give what continuing needs beside the weights."""

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``training_state`` gave."""


@dataclass(frozen=True)
class Restored:
    """A learner from a checkpoint, with the counters that were saved with it."""

    learner: Storable
    counters: dict[str, Any]


def save(
    path: Path | str,
    learner: Storable,
    counters: Mapping[str, Any] | None = None,
    replay: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write a checkpoint, replacing an older one; DataError if it cannot be written.

    ``counters`` (JSON-able, such as ``{"epoch": 12}``) adds ``training/``, from which
    ``load_learner`` continues; without them the checkpoint is only good for acting. ``replay`` are
    the arrays of a replay memory, which ``load_replay`` gives back.
    """
    write_folder(Path(path), lambda folder: _write(folder, learner, counters, replay))


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write an empty folder beside ``path``; flush it and rename it there, whole.

    Raises DataError, and leaves what was at ``path``, if it cannot be written.
    """
    fresh = path.with_name(path.name + ".partial")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        fill(fresh)
        for file in sorted(fresh.rglob("*")):
            sync(file)
        _replace(fresh, path)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise DataError(f"{path}: the checkpoint cannot be written: {error}") from error


def exists(path: Path | str) -> bool:
    """Say whether there is a checkpoint, whatever was killed while it was replaced."""
    return find(Path(path)) is not None


def find(path: Path, needed: Iterable[str] = NEEDED) -> Path | None:
    """Find the folder with these files: at ``path``, or beside it if a crash came between renames.

    That is where ``write_folder`` has left the older one then.
    """
    folders = (path, path.parent / f"{path.name}.previous")  # "." has no name
    return next((f for f in folders if all((f / n).is_file() for n in needed)), None)


def newest(path: Path) -> Path:
    """Find the checkpoint at a path: itself, in a run, or in the newest run of a folder of runs.

    Directories of runs begin with the time. Gives the path itself if there is none.
    """
    runs = (folder for folder in sorted(path.glob("*"), reverse=True) if folder.is_dir())
    inside = [path, path / "checkpoint", *(run / "checkpoint" for run in runs)]
    return next((folder for folder in inside if exists(folder)), path)


def load_policy(path: Path | str, interface: Spec, own: Iterable[type] = ()) -> Storable:
    """Read a policy that is to act on ``interface``; SpecError, before any weight, if it cannot.

    ``own`` are classes of learners, which go before ours and those that installed packages publish
    where their ``name`` is the checkpoint's: a checkpoint alone cannot have anything imported.
    Raises DataError for a checkpoint that is missing, damaged or of an unknown learner.
    """
    folder = _existing(Path(path))
    read_spec(folder).require(interface, f"the policy in {path}", "the environment")
    within = [load_policy(folder / WITHIN, interface, own)] if exists(folder / WITHIN) else []
    learner = _build(folder, own, within)
    learner.load_state_dict(read_tensors(folder / "weights.safetensors"))
    return learner


def load_learner(path: Path | str, interface: Spec, own: Iterable[type] = ()) -> Restored:
    """Read a learner as ``load_policy`` does, and what it needs to continue training."""
    learner = load_policy(path, interface, own)
    return Restored(learner, _continue(path, _existing(Path(path)), learner))


def go_on(path: Path | str, learner: Storable) -> dict[str, Any]:
    """Put a learner where the one in a checkpoint is in its training; give the counters.

    It is one that was made as that was: unlike ``load_learner``, which makes one, this keeps what
    no configuration tells, reward streams of one's own. DataError for another method's checkpoint.
    """
    folder = _existing(Path(path))
    name = _stored(folder)[0]
    if name != learner.name:
        raise DataError(f"{path}: holds '{name}', not '{learner.name}'")
    read_spec(folder).require(learner.interface, f"the policy in {path}", "the environment")
    learner.load_state_dict(read_tensors(folder / "weights.safetensors"))
    return _continue(path, folder, learner)


def load_training(file: Path, learner: Storable) -> dict[str, Tensor]:
    """Give a learner what continuing needs, and all tensors in the file; DataError if damaged."""
    state = read_tensors(file)
    try:
        learner.load_training_state(state)
    except KeyError as error:
        raise DataError(f"{file}: damaged: it lacks {error.args[0]}") from error
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{file}: damaged: {str(error).partition(chr(10))[0]}") from error
    return state


def load_replay(path: Path | str) -> dict[str, np.ndarray]:
    """Read the replay memory that was saved with a checkpoint; DataError if there is none."""
    file = _existing(Path(path)) / "training" / REPLAY
    try:
        return safetensors.numpy.load_file(file)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file}: missing or damaged: {error}") from error


def checked(kind: Any, counters: Any, path: Path | str) -> Any:
    """Give counters of the checkpoint at ``path``, or a part of them, as ``kind``; else DataError.

    ``kind`` is a dataclass, or another annotation such as ``list[float]``.
    """
    try:
        return pydantic.TypeAdapter(kind).validate_python(counters)
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = "".join(f"{key}: " for key in fault["loc"])
        raise DataError(f"{path}/training/{COUNTERS}: damaged: {where}{said(fault)}") from None


def read_counters(folder: Path) -> dict[str, Any]:
    """Read the counters in ``training/`` of the checkpoint in a folder."""
    return checked(dict[str, Any], _read_json(folder / "training" / COUNTERS), folder)


def read_spec(path: Path | str) -> Spec:
    """Read what goes in and out of the policy in a checkpoint."""
    file = _existing(Path(path)) / "spec.json"
    text = _read(file)
    try:
        return Spec.from_json(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{file}: damaged: {error}") from error


def _write(
    folder: Path,
    learner: Storable,
    counters: Mapping[str, Any] | None,
    replay: Mapping[str, np.ndarray] | None,
) -> None:
    config = {"learner": learner.name, "config": _plain(dataclasses.asdict(learner.config))}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "spec.json").write_text(learner.interface.to_json())
    write_tensors(folder / "weights.safetensors", learner.state_dict())
    if hasattr(learner, "within"):
        (folder / WITHIN).mkdir()
        _write(folder / WITHIN, learner.within, None, None)
    if counters is not None:
        (folder / "training").mkdir()
        write_tensors(folder / "training" / "state.safetensors", learner.training_state())
        (folder / "training" / COUNTERS).write_text(json.dumps(dict(counters)))
        if replay is not None:
            safetensors.numpy.save_file(dict(replay), folder / "training" / REPLAY)


def _replace(fresh: Path, path: Path) -> None:
    """Move ``fresh`` to ``path``; a crash in between leaves the older one as ``.previous``."""
    previous = path.with_name(path.name + ".previous")
    if path.exists():
        shutil.rmtree(previous, ignore_errors=True)
        path.rename(previous)
    fresh.rename(path)
    sync(path.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _existing(path: Path) -> Path:
    folder = find(path)
    if folder is None:
        raise DataError(f"{path}: no checkpoint here (a folder with config.yaml and spec.json)")
    return folder


def _continue(path: Path | str, folder: Path, learner: Storable) -> dict[str, Any]:
    """Give a learner what continuing needs beside the weights; give the counters."""
    training = folder / "training"
    if not training.is_dir():
        raise DataError(f"{path}: no training/ in this checkpoint, so training cannot continue")
    load_training(training / "state.safetensors", learner)
    return read_counters(folder)


def _stored(folder: Path) -> tuple[str, dict[str, Any]]:
    """Give the learner's name, and its settings."""
    file = folder / "config.yaml"
    text = _read(file)
    try:
        stored = yaml.safe_load(text)
        return str(stored["learner"]), _frozen(stored["config"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: damaged: no learner and config in it") from error


def _build(folder: Path, own: Iterable[type], within: list[Storable]) -> Storable:
    file = folder / "config.yaml"
    name, settings = _stored(folder)
    learner = _class(name, own, str(file))
    kind = settings_of(learner, f"{file}: learner '{name}'")
    try:
        configuration = kind(**settings)
    except (TypeError, UserError) as error:
        raise DataError(f"{file}: not a configuration of '{name}': {error}") from error
    if hasattr(learner, "within") != bool(within):
        raise DataError(f"{folder}: '{name}' {'has no' if within else 'needs a'} {WITHIN}/")
    return learner(read_spec(folder), configuration, *within)


def _class(name: str, own: Iterable[type], where: str) -> type[Storable]:
    """Give the class of a learner; an installed package cannot take the place of one of ours."""
    given = {one.name: one for one in own}
    if name in given:
        return given[name]
    if name in LEARNERS:
        return load(LEARNERS[name])
    foreign = published(name, names.LEARNERS, where)
    if foreign is None:
        known = [*LEARNERS, *given, *installed(names.LEARNERS)]
        raise DataError(f"{where}: unknown learner '{name}'{nearest(name, known)}")
    return load_own(foreign, where)


def _plain(value: Any) -> Any:
    """Turn tuples into lists, which YAML writes without tags."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name as a safetensors file."""
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, file)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read what ``write_tensors`` wrote; DataError if the file is missing or damaged."""
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file}: missing or damaged: {error}") from error


def _read_json(file: Path) -> Any:
    text = _read(file)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: damaged: {error}") from error


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: damaged: {error}") from error
