"""A Judge on disk: calibrate once, judge in another process, on another day.

judge.json                       configuration, gripper entry, scales
policy/, fold_<f>/policy/        checkpoints
fold_<f>/held_out.safetensors    scores of the demonstrations that fold f was not trained on
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from robolearn.algos.compatibility import Scale, Scores
from robolearn.checkpoint import load_policy, read_spec, save
from robolearn.errors import DataError
from robolearn.judge import Fold, Judge, JudgeConfig


def save_judge(path: Path | str, judge: Judge) -> None:
    """Write a judge into a folder; ``judge.json`` comes last, so a folder with it is whole."""
    path = Path(path)
    save(path / "policy", judge.policy)
    for f, fold in enumerate(judge.folds):
        save(path / f"fold_{f}" / "policy", fold.policy)
        save_file(_flat(fold.held_out), path / f"fold_{f}" / "held_out.safetensors")
    about = {
        "config": asdict(judge.config),
        "gripper": judge.gripper,
        "scale": asdict(judge.scale),
        "fold_scales": [asdict(fold.scale) for fold in judge.folds],
    }
    (path / "judge.json").write_text(json.dumps(about, indent=2))


def load_judge(path: Path | str) -> Judge:
    """Read what ``save_judge`` wrote; DataError if it is missing or damaged."""
    path = Path(path)
    try:
        about = json.loads((path / "judge.json").read_text())
        config, scale = JudgeConfig(**about["config"]), Scale(**about["scale"])
        fold_scales = [Scale(**values) for values in about["fold_scales"]]
        folds = [_load_fold(path / f"fold_{f}", s) for f, s in enumerate(fold_scales)]
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise DataError(f"{path}: no judge here, or a damaged one: {error}") from error
    return Judge(config, _load_policy(path), scale, tuple(folds), about["gripper"])


def _load_policy(path: Path):
    return load_policy(path / "policy", read_spec(path / "policy"))


def _load_fold(path: Path, scale: Scale) -> Fold:
    arrays = load_file(path / "held_out.safetensors")
    count = 1 + max((int(name.partition("/")[0]) for name in arrays), default=-1)
    names = [field.name for field in fields(Scores)]
    held_out = (Scores(**{name: arrays[f"{i}/{name}"] for name in names}) for i in range(count))
    return Fold(_load_policy(path), scale, tuple(held_out))


def _flat(scores: Sequence[Scores]) -> dict:
    return {
        f"{i}/{field.name}": getattr(s, field.name)
        for i, s in enumerate(scores)
        for field in fields(Scores)
    }
