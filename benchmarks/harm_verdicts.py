"""What the judge of harm, and other predictors, say of the operators whose harm is measured.

    python benchmarks/harm_verdicts.py [--tasks square ...] [--replicates 0 1 2]
                                       [--part tuning apart last fresh] [--operators slow ...]

Appends JSON lines to ``benchmarks/results/harm_verdicts.jsonl``, and does not repeat any: for every
operator the share of its demonstrations that is rejected and the mean of every predictor, for the
base operator's own held-out demonstrations the same, and the same once they are spoilt on purpose
(``auc``: how well the harm tells them from the untouched; actions as velocities and as places).
A row has a ``measure``, a digest of the judge's code and configuration: if either changes, rows are
made anew beside the old ones.
Demonstrations are those of ``benchmarks/harm.py``, collected if they are missing.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from harm import EVERYBODY, FOLDER, PARTS, SEED, TASKS, append_to, measure_of, rows_of, study_of
from keep import commit

from demos.study.baselines import BASELINES
from demos.study.corruptions import CORRUPTIONS, Spoiler
from demos.study.replicate import BASE, HARM, HELD_OUT, Replicate, is_long
from demos.study.results import auc
from robolearn.judging.demonstrations import Demonstration
from robolearn.judging.harm import HarmJudge
from robolearn.types import ArraySpec, Spec

ROWS = Path(__file__).parent / "results" / "harm_verdicts.jsonl"
KEY = ("task", "replicate", "operator", "corruption", "actions", "measure")
POSITIONS = ("robot0_eef_pos", "hand_pos")  # of the hand, as robosuite and the tabletop call it


def main() -> None:
    """Judge what is missing."""
    arguments = _arguments()
    known = {tuple(row.get(k) for k in KEY) for row in rows_of(ROWS)}
    for replicate in arguments.replicates:
        for task in arguments.tasks:
            study = Replicate(study_of(task), FOLDER / task, SEED, replicate)
            for row in verdicts(study, arguments.part, arguments.operators):
                row = {"task": task, "replicate": replicate} | row | {"commit": commit()[:12]}
                if tuple(row.get(k) for k in KEY) not in known:
                    append_to(ROWS, row)
                    print(json.dumps(row), flush=True)


def verdicts(study: Replicate, parts: Sequence[str], operators: Sequence[str]) -> Iterator[dict]:
    """Give a row for every operator, and for every corruption of the base's own."""
    for name in (BASE, HELD_OUT):
        study.demonstrate(name)
    judge, base = study.judge(HARM), study.demonstrations(BASE)
    held_out = study.demonstrations(HELD_OUT)
    yield {"operator": HELD_OUT} | judged(judge, base, held_out)
    for part in parts:
        for name in (n for n in PARTS[part] if n in operators):
            study.demonstrate(name)
            found = judged(judge, base, study.demonstrations(name))
            yield {"operator": name, "part": part} | found
    yield from corrupted("velocities", base, held_out, judge.interface)
    as_places = Places(base, judge.interface)
    yield from corrupted("places", as_places(base), as_places(held_out), judge.interface)


def judged(
    judge: HarmJudge, base: list[Demonstration], demonstrations: list[Demonstration]
) -> dict:
    """Say what judge and baselines make of demonstrations long enough for it: shares and means."""
    demonstrations = list(filter(is_long, demonstrations))
    found = judge.score_all(*zip(*demonstrations, strict=True))
    return {
        "measure": measure_of(judge.config),
        "demonstrations": len(found),
        "rejected": float(np.mean([not v.accepted for v in found])),
        "harm": float(np.median([v.harm for v in found])),
        "progress": float(np.log(np.mean([v.progress_lost for v in found]))),
        "waited": float(np.mean([v.waited for v in found])),
        "contrary": float(np.mean([v.contrary for v in found])),
        "mismatch": float(np.median([v.command_mismatch for v in found])),
        "baselines": {
            name: float(predict(base, demonstrations).mean()) for name, predict in BASELINES.items()
        },
    }


def corrupted(
    kind: str, base: list[Demonstration], held_out: list[Demonstration], interface: Spec
) -> Iterator[dict]:
    """Spoil held-out demonstrations in every way, with a judge that knows such actions.

    Of demonstrations that are long enough for it, as in ``judged``.
    """
    base, held_out = (list(filter(is_long, pairs)) for pairs in (base, held_out))
    size = base[0][1].shape[1]
    names = interface.action.names if kind == "velocities" else ()
    interface = Spec(
        interface.environment, interface.observations, ArraySpec((size,), names=names),
        interface.period_s,
    )  # fmt: skip
    judge = HarmJudge.of(*zip(*base, strict=True), interface=interface)
    spoiler = Spoiler(gripper=size - 1, absolute=kind == "places")
    untouched = [judge.score(*pair).harm for pair in held_out]
    for name, spoil in CORRUPTIONS.items():
        rng = np.random.default_rng(0)
        others = np.roll(np.arange(len(held_out)), 7)
        spoilt = [
            spoil(spoiler, p, held_out[i][1], rng) for p, i in zip(held_out, others, strict=True)
        ]
        harm = [judge.score(*pair).harm for pair in spoilt]
        yield {
            "operator": HELD_OUT,
            "corruption": name,
            "actions": kind,
            "measure": measure_of(judge.config),
            "auc": auc(harm, untouched),
            "rejected": float(np.mean(np.array(harm) > 1.0)),
        }


class Places:
    """Turns commanded motions of the hand into the places to which they lead: x, y, z; gripper.

    Places are in metres from the middle of the base's demonstrations, so within [-1, 1].
    """

    def __init__(self, base: list[Demonstration], interface: Spec) -> None:
        state = interface.observations["state"]
        position = next(name for name in POSITIONS if f"{name}_x" in state.names)
        self._columns = state.index(position)
        self._scale = np.asarray(interface.action.scale[:3])
        self._middle = np.concatenate([states[:, self._columns] for states, _ in base]).mean(0)

    def __call__(self, demonstrations: list[Demonstration]) -> list[Demonstration]:
        """Give demonstrations with actions [T, 4]."""
        return [
            (
                s,
                np.column_stack(
                    [s[:, self._columns] - self._middle + self._scale * a[:, :3], a[:, -1]]
                ),
            )
            for s, a in demonstrations
        ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--replicates", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--part", nargs="+", default=["tuning"], choices=list(PARTS))
    parser.add_argument("--operators", nargs="+", default=EVERYBODY, choices=EVERYBODY)
    return parser.parse_args()


if __name__ == "__main__":
    main()
