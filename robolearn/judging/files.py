"""A Judge on disk, so that one process calibrates and others judge.

judge.json              configuration, gripper entry, scales, limits of actions
policy/                 checkpoint of the ensemble of all base demonstrations
fold_0/policy/ ...      checkpoint of each fold's ensemble
fold_0/held_out.safetensors   scores of the demonstrations that it has not seen
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robolearn.algos.compatibility import Scale, Scores
from robolearn.errors import DataError
from robolearn.judging.judge import Fold, Judge, JudgeConfig
from robolearn.judging.limits import ActionLimits
from robolearn.loops import checkpoint
from robolearn.types import Spec

FIELDS = tuple(field.name for field in dataclasses.fields(Scores))


def save_judge(path: Path | str, judge: Judge) -> None:
    """Write a judge as a folder, replacing an older one; DataError if it cannot be written."""
    checkpoint.write_folder(Path(path), lambda folder: _write(folder, judge))


def load_judge(path: Path | str, interface: Spec) -> Judge:
    """Read what ``save_judge`` wrote; SpecError, before any weight, if it cannot judge there.

    Raises DataError for a folder that is missing or damaged.
    """
    folder = Path(path)
    try:
        stored = json.loads((folder / "judge.json").read_text())
        config, scale = JudgeConfig(**stored["config"]), Scale(**stored["scale"])
        fold_scales = [Scale(**values) for values in stored["fold_scales"]]
        gripper, limits = stored["gripper"], _limits_of(stored)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: no judge here, or a damaged one: {error}") from error
    policy = checkpoint.load_policy(folder / "policy", interface)
    folds = [
        _read_fold(folder / f"fold_{f}", scale, interface) for f, scale in enumerate(fold_scales)
    ]
    return Judge(config, policy, scale, tuple(folds), gripper, limits)


def _write(folder: Path, judge: Judge) -> None:
    stored = {
        "config": dataclasses.asdict(judge.config),
        "gripper": judge.gripper,
        "scale": dataclasses.asdict(judge.scale),
        "fold_scales": [dataclasses.asdict(fold.scale) for fold in judge.folds],
        "limits": {
            "low": np.asarray(judge.limits.low).tolist(),
            "high": np.asarray(judge.limits.high).tolist(),
            "clip": judge.limits.clip,
        },
    }
    (folder / "judge.json").write_text(json.dumps(stored, indent=2))
    checkpoint.save(folder / "policy", judge.policy)
    for f, fold in enumerate(judge.folds):
        checkpoint.save(folder / f"fold_{f}" / "policy", fold.policy)
        arrays = {
            f"{i}/{name}": torch.as_tensor(getattr(scores, name))
            for i, scores in enumerate(fold.held_out)
            for name in FIELDS
        }
        checkpoint.write_tensors(folder / f"fold_{f}" / "held_out.safetensors", arrays)


def _limits_of(stored: dict[str, Any]) -> ActionLimits:
    """Read limits of actions; a judge that was stored without some has those of [-1, 1]."""
    limits = stored.get("limits")
    if limits is None:
        return ActionLimits()
    low, high = (np.array(limits[end], np.float64) for end in ("low", "high"))
    return ActionLimits(low, high, limits["clip"])


def _read_fold(folder: Path, scale: Scale, interface: Spec) -> Fold:
    policy = checkpoint.load_policy(folder / "policy", interface)
    arrays = checkpoint.read_tensors(folder / "held_out.safetensors")
    held_out = tuple(
        Scores(**{name: arrays[f"{i}/{name}"].numpy() for name in FIELDS})
        for i in range(len(arrays) // len(FIELDS))
    )
    return Fold(policy, scale, held_out)
