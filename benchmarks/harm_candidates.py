"""What was proposed as a measure of harm, beside the judge that is there, on the same pairs.

    python benchmarks/harm_candidates.py [--tasks square ...] [--replicates 0] [--part fresh ...]
                                         [--operators slow ...] [--minutes 100]

Appends a JSON line for each operator to ``benchmarks/results/harm_candidates.jsonl``, and does not
repeat any; ``benchmarks/harm_summary.py`` holds them against the harm. Nothing is trained but a
policy that is linear in random features. With z the state in units of the base's spread, clipped
at 3, and j the 10 nearest pairs of other base demonstrations, of a demonstration with T steps

- ``steps_lost``: S = sum_t min_j max( short_tj, |g_t - g_j| / 2 ), g the gripper's command and
  short_tj = min( 1, sum_i max(0, a_ji (a_ji - a_ti)) / (sum_i a_ji^2 + .02) ) over the others:
  how much of the base's motion is missing or reversed;
- ``progress_lost_5``, ``progress_lost_10``: S = sum_t min_j short_tj, of displacements D over so
  many steps in units of their spread in the base, in the place of a, and .5 in that of .02;
- ``residuals``: |a_t - mean_j a_j|, whitened by the base's own, mean over entries and 5 steps, the
  worst window;
- ``signed_residuals``: the same with sign, over 20 steps, the worst entry and window;

each a median over demonstrations, as a multiple of the base's own, each held against the others;

- ``held_out_error``: by how much, as a share, all demonstrations of an operator raise a policy's
  squared error on every second base demonstration.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from harm import EVERYBODY, FOLDER, PARTS, SEED, TASKS, append_to, rows_of, study_of
from keep import commit
from scipy.spatial import cKDTree

from demos.study.baselines import features_of
from demos.study.replicate import BASE, Replicate
from robolearn.judging.demonstrations import Demonstration

ROWS = Path(__file__).parent / "results" / "harm_candidates.jsonl"
KEY = ("task", "replicate", "operator")
NEAREST, FURTHEST, LEAST_SPREAD = 10, 3.0, 0.01
SMALL_MOTION = {"actions": 0.02, "displacements": 0.5}


class Known:
    """The base's pairs, and which of them are near."""

    def __init__(self, base: Sequence[Demonstration]) -> None:
        states = np.concatenate([s for s, _ in base])
        self._mean, self._spread = states.mean(0), np.maximum(states.std(0), LEAST_SPREAD)
        self.base = list(base)
        self.actions = np.concatenate([a for _, a in base]).astype(float)
        self._owner = np.repeat(np.arange(len(base)), [len(a) for _, a in base])
        self._tree = cKDTree(np.concatenate([self.z(s) for s, _ in base]))

    def z(self, states: np.ndarray) -> np.ndarray:
        """Give states [T, O] in units of the base's spread."""
        return np.clip((states - self._mean) / self._spread, -FURTHEST, FURTHEST)

    def near(self, states: np.ndarray, but: int | None) -> np.ndarray:
        """Give the rows [T, 10] of the nearest pairs, of all demonstrations but one."""
        more = NEAREST if but is None else NEAREST + len(self.base[but][1])
        rows = self._tree.query(self.z(states), k=more)[1]
        if but is None:
            return rows
        other = self._owner[rows] != but
        first = np.argsort(~other, axis=1, kind="stable")[:, :NEAREST]
        return np.take_along_axis(rows, first, axis=1)

    def ahead(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Give the displacements D [M, O] of all base pairs, and their spread [O]."""
        moved = np.concatenate([ahead(self.z(s), steps) for s, _ in self.base])
        return moved, moved.std(0) + LEAST_SPREAD


def ahead(z: np.ndarray, steps: int) -> np.ndarray:
    """Give z_(t+k) - z_t [T, O]; the last state goes on."""
    return z[np.minimum(np.arange(len(z)) + steps, len(z) - 1)] - z


def short(theirs: np.ndarray, mine: np.ndarray, small: float) -> np.ndarray:
    """Give how much of motions [T, J, E] is missing in mine [T, E], [T, J] from 0 to 1."""
    missing = np.maximum(0.0, theirs * (theirs - mine[:, None])).sum(-1)
    return np.minimum(1.0, missing / (np.square(theirs).sum(-1) + small))


def steps_lost(known: Known) -> Callable[[Demonstration, int | None], float]:
    """Give what measures a demonstration, held against all others but one."""

    def of(pair: Demonstration, but: int | None = None) -> float:
        theirs = known.actions[known.near(pair[0], but)]  # [T, J, A]
        lost = short(theirs[..., :-1], pair[1][:, :-1], SMALL_MOTION["actions"])
        grip = np.abs(theirs[..., -1] - pair[1][:, None, -1]) / 2
        return float(np.maximum(lost, grip).min(1).sum())

    return of


def progress_lost(known: Known, steps: int) -> Callable[[Demonstration, int | None], float]:
    """Give what measures a demonstration by displacements over so many steps."""
    moved, spread = known.ahead(steps)

    def of(pair: Demonstration, but: int | None = None) -> float:
        theirs, mine = moved[known.near(pair[0], but)] / spread, ahead(known.z(pair[0]), steps)
        return float(short(theirs, mine / spread, SMALL_MOTION["displacements"]).min(1).sum())

    return of


def residuals(
    known: Known, window: int, signed: bool
) -> Callable[[Demonstration, int | None], float]:
    """Give what measures a demonstration by how its actions differ from the nearest ones'."""

    def apart(pair: Demonstration, but: int | None) -> np.ndarray:
        return pair[1] - known.actions[known.near(pair[0], but)].mean(1)

    own = np.concatenate([apart(pair, i) for i, pair in enumerate(known.base)])
    spread = own.std(0) + LEAST_SPREAD

    def of(pair: Demonstration, but: int | None = None) -> float:
        whitened = apart(pair, but) / spread
        rows = whitened if signed else np.abs(whitened).mean(1, keepdims=True)
        width = min(window, len(rows))
        means = np.lib.stride_tricks.sliding_window_view(rows, width, axis=0).mean(-1)
        return float(np.abs(means).max())

    return of


def held_out_error(base: Sequence[Demonstration], new: Sequence[Demonstration]) -> float:
    """Give by how much, as a share, the new ones raise the error on every second base one."""
    learnt, held_out = base[::2], base[1::2]
    features, fitted = features_of(base)
    pairs = [features(*pair) for pair in held_out]

    def error(training: Sequence[Demonstration]) -> float:
        weights, _ = fitted([features(*pair) for pair in training])
        return float(np.mean(np.concatenate([np.square(phi @ weights - a) for phi, a in pairs])))

    return error([*learnt, *new]) / error(learnt) - 1.0


def candidates(base: Sequence[Demonstration]) -> Callable[[Sequence[Demonstration]], dict]:
    """Give what finds all candidates of an operator's demonstrations, by their names."""
    known = Known(base)
    measures = {
        "steps_lost": steps_lost(known),
        "progress_lost_5": progress_lost(known, 5),
        "progress_lost_10": progress_lost(known, 10),
        "residuals": residuals(known, 5, signed=False),
        "signed_residuals": residuals(known, 20, signed=True),
    }
    own = {
        name: float(np.median([of(pair, i) for i, pair in enumerate(known.base)]))
        for name, of in measures.items()
    }

    def found(new: Sequence[Demonstration]) -> dict:
        ratios = {
            name: float(np.median([of(pair, None) for pair in new])) / own[name]
            for name, of in measures.items()
        }
        return ratios | {"held_out_error": held_out_error(base, new)}

    return found


def main() -> None:
    """Measure what is missing."""
    arguments = _arguments()
    deadline = time.time() + 60 * arguments.minutes
    known = {tuple(row[k] for k in KEY) for row in rows_of(ROWS)}
    names = [n for part in arguments.part for n in PARTS[part] if n in arguments.operators]
    for replicate in arguments.replicates:
        for task in arguments.tasks:
            todo = [name for name in names if (task, replicate, name) not in known]
            if not todo:
                continue
            study = Replicate(study_of(task), FOLDER / task, SEED, replicate)
            study.demonstrate(BASE)
            found = candidates(study.demonstrations(BASE))
            for name in todo:
                if time.time() < deadline:
                    study.demonstrate(name)
                    row = {"task": task, "replicate": replicate, "operator": name}
                    row |= {"candidates": found(study.demonstrations(name))}
                    append_to(ROWS, row | {"commit": commit()[:12]})
                    print(json.dumps(row), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--replicates", nargs="+", type=int, default=[0])
    parser.add_argument("--part", nargs="+", default=["fresh"], choices=list(PARTS))
    parser.add_argument("--operators", nargs="+", default=EVERYBODY, choices=EVERYBODY)
    parser.add_argument("--minutes", type=float, default=100.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
