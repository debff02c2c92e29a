"""Put the rows of ``rat.jsonl`` into ``benchmarks/results/rat.json``; print means over seeds.

    python benchmarks/rat_summary.py

One line for each stage, behaviour, task, intention, defence, budget and, of an intention that is
learnt, number of labels, who learns it, how long it looks around first, discount, how often a
decision counts, last spread of actions and place for the hand: the success of every method, the
number of seeds in brackets, beside the victim's without an attack, its own task's, and the
intention's.
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
    "learner",
    "explored",
    "gamma",
    "counted",
    "final_std",
    "target",
)
RATES = ("control", "clean", "mirror_expert")


def main() -> None:
    """Gather the rows, and print the table."""
    gather(ROWS)
    found = defaultdict(list)
    for line in ROWS.read_text().splitlines():
        row = json.loads(line)
        about = [str(row.get(key, "")) for key in KEYS]
        found[*about, f"{row['budget']:g} {row['unit']}"].append(row)
    heads = (*KEYS, "budget", *METHODS, *RATES)
    print("|", " | ".join(heads), "|")
    print("|---" * len(heads) + "|")
    for about, rows in sorted(found.items()):
        cells = [_success([r for r in rows if r["method"] == method]) for method in METHODS]
        cells += [
            _rate({r["seed"]: r[rate] for r in rows if r[rate] is not None}) for rate in RATES
        ]
        print("|", " | ".join([*about, *cells]), "|")


def _rate(by_seed: dict[int, float]) -> str:
    return f"{np.mean(list(by_seed.values())):.2f}" if by_seed else ""


def _success(rows: list[dict]) -> str:
    return f"{np.mean([row['success'] for row in rows]):.2f} ({len(rows)})" if rows else ""


if __name__ == "__main__":
    main()
