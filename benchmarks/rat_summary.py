"""Put the rows of ``rat.jsonl`` into ``benchmarks/results/rat.json``; print means over seeds.

    python benchmarks/rat_summary.py

One line for each stage, behaviour, task, intention, defence, place for the hand, budget and, of an
intention that is learnt, number of labels, how often a decision counts, and how it is learnt: the
success of every method, the number of seeds in brackets, beside the victim's without an attack, its
own task's, and the intention's. Methods that learn no intention stand beside each that was learnt
from as many labels, random perturbations beside all.
"""

import json
from collections import defaultdict

import numpy as np
from keep import gather
from rat import ROWS
from rat_learnt import INTENDING

KEYS = ("stage", "behaviour", "task", "intention", "defence", "evades", "target")
ASKED = ("asked", "counted")  # what is said of what is wanted, in answers
LEARNT = ("gamma", "final_std", "learner", "explored", "least_movable")  # how, of an intention
METHODS = ("random", "pgd", *INTENDING, "sa_rl", "pa_ad")
RATES = ("control", "clean", "mirror_expert")
OF_RATES = ("random", "pgd", "rat")  # the methods beside which these stand


def main() -> None:
    """Gather the rows, and print the table."""
    gather(ROWS)
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    found: dict[tuple[str, ...], list[dict]] = defaultdict(list)
    for row in rows:
        if row["method"] in INTENDING:
            found[_about(row)].append(row)
    for row in rows:
        if row["method"] not in INTENDING:
            known = _about(row, KEYS if row["method"] == "random" else (*KEYS, *ASKED))
            beside = [each for each in found if _fits(known, each)]
            for each in beside or [tuple(entry or "" for entry in known)]:
                found[each].append(row)
    heads = (*KEYS, "budget", *ASKED, *LEARNT, *METHODS, *RATES)
    print("|", " | ".join(heads), "|")
    print("|---" * len(heads) + "|")
    for about, rows in sorted(found.items()):
        cells = [_success([r for r in rows if r["method"] == method]) for method in METHODS]
        cells += [_rate([r for r in rows if r["method"] in OF_RATES], rate) for rate in RATES]
        print("|", " | ".join([*about, *cells]), "|")


def _about(row: dict, known: tuple[str, ...] = (*KEYS, *ASKED, *LEARNT)) -> tuple:
    """Give what a row is of; None where that does not matter for it."""
    entries = {key: str(row.get(key, "")) for key in known} | {"budget": _budget(row)}
    return tuple(entries.get(key) for key in (*KEYS, "budget", *ASKED, *LEARNT))


def _budget(row: dict) -> str:
    return f"{row['budget']:g} {row['unit']}"


def _fits(known: tuple, about: tuple) -> bool:
    return all(entry in (None, other) for entry, other in zip(known, about, strict=True))


def _rate(rows: list[dict], name: str) -> str:
    by_seed = {row["seed"]: row[name] for row in rows if row.get(name) is not None}
    return f"{np.mean(list(by_seed.values())):.2f}" if by_seed else ""


def _success(rows: list[dict]) -> str:
    return f"{_rate(rows, 'success')} ({len({row['seed'] for row in rows})})" if rows else ""


if __name__ == "__main__":
    main()
