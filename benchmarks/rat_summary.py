"""Put the rows of ``rat.jsonl`` into ``benchmarks/results/rat.json``; print means over seeds.

    python benchmarks/rat_summary.py

One line for each stage, behaviour, task, intention, defence, budget and, of an intention that is
learnt, number of labels, discount, how often a decision counts, last spread of actions, place for
the hand, who learns it and how long it looks around first: the success of every method, the number
of seeds in brackets, beside the victim's without an attack, its own task's, and the intention's.
Methods that learn no intention stand beside each that was learnt.
"""

import json
from collections import defaultdict

import numpy as np
from keep import gather
from rat import METHODS, ROWS

KEYS = (
    "stage",
    "behaviour",
    "task",
    "intention",
    "defence",
    "evades",
    "asked",
    "gamma",
    "counted",
    "final_std",
    "target",
)
LEARNT = ("learner", "explored")  # how an intention was learnt
ALONE = ("random", "sa_rl", "pa_ad")  # methods without one
RATES = ("control", "clean", "mirror_expert")


def main() -> None:
    """Gather the rows, and print the table."""
    gather(ROWS)
    found, alone = defaultdict(list), defaultdict(list)
    for line in ROWS.read_text().splitlines():
        row = json.loads(line)
        about = (*_entries(row, KEYS), f"{row['budget']:g} {row['unit']}")
        if row["method"] in ALONE:
            alone[about].append(row)
        else:
            found[*about, *_entries(row, LEARNT)].append(row)
    for about, rows in alone.items():
        beside = [each for each in found if each[: len(about)] == about]
        for each in beside or [(*about, *["" for _ in LEARNT])]:
            found[each] += rows
    heads = (*KEYS, "budget", *LEARNT, *METHODS, *RATES)
    print("|", " | ".join(heads), "|")
    print("|---" * len(heads) + "|")
    for about, rows in sorted(found.items()):
        cells = [_success([r for r in rows if r["method"] == method]) for method in METHODS]
        cells += [
            _rate({r["seed"]: r[rate] for r in rows if r[rate] is not None}) for rate in RATES
        ]
        print("|", " | ".join([*about, *cells]), "|")


def _entries(row: dict, keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(row.get(key, "")) for key in keys)


def _rate(by_seed: dict[int, float]) -> str:
    return f"{np.mean(list(by_seed.values())):.2f}" if by_seed else ""


def _success(rows: list[dict]) -> str:
    return f"{np.mean([row['success'] for row in rows]):.2f} ({len(rows)})" if rows else ""


if __name__ == "__main__":
    main()
