"""``verb: judge``: would others' demonstrations harm a policy cloned from yours? No simulator."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pydantic

from robolearn.algos.commands import LEAST_STEPS
from robolearn.errors import DataError
from robolearn.judging.groups import (
    MOST_NAMED,
    Judged,
    grouped,
    said,
    summary_of,
    table_of_each,
    table_of_groups,
    too_short,
    verdicts_of,
    with_lengths,
    worst,
)
from robolearn.judging.harm import HarmJudge
from robolearn.judging.limits import ActionLimits, said_of
from robolearn.judging.reasons import names_of
from robolearn.judging.repair import Kept, mended
from robolearn.judging.report import draw_report
from robolearn.judging.verdicts import HarmJudgeConfig
from robolearn.names import load
from robolearn.running.run import Run
from robolearn.settings import Names
from robolearn.types import ArraySpec, Spec

BASE = "base"  # an operator's name


def _several(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


OneOrMore = pydantic.BeforeValidator(_several)  # a union of both would name its parts in messages


Limit = Annotated[tuple[float, ...], OneOrMore]


class _Row(NamedTuple):
    name: str
    operator: str
    states: np.ndarray  # [T, O]
    actions: np.ndarray  # [T, A]


@dataclass(frozen=True)
class JudgeConfig:
    """Whose demonstrations are judged by whose, and what becomes of them."""

    base: str
    """A dataset, ours or others' (robomimic, robosuite, LeRobot, Minari); of it, the successful
    demonstrations."""
    new: Annotated[Names, OneOrMore] | None = None
    """The same, or several of them, to be judged; None for all others of ``base``."""
    base_operator: str | None = None
    """Whose demonstrations in ``base``: an operator, or a mask; None for the only one there is, or
    among several the one called "base"."""
    success: bool | None = True
    """Only successful (or failed) demonstrations of ``new``; None for both."""
    by: Literal["operator", "demonstration"] = "operator"
    """What has a row of the table."""
    obs: Names | None = None
    """Observations to compare: groups of the state's entries, or robomimic's keys; None for the
    whole state, or for those that robomimic's policies are given by default."""
    common: bool = False
    """Whether to compare the entries that both have, where one has others."""
    limits: tuple[Limit, Limit] | None = None
    """[low, high] of the actions, numbers or one for each entry; None for [-1, 1]."""
    clip: bool = False
    """Whether actions beyond the limits are clipped, rather than refused."""
    keep: str | None = None
    """Where to write what is accepted: NAME.hdf5 (links, for robomimic), NAME.json (a list of
    names), or a folder (a dataset of copies; not of robomimic's files). Actions stay as they were
    recorded, also where they were clipped to be judged."""
    repair: bool = False
    """Whether to keep, too, what can be repaired of what is rejected: a demonstration that only
    waits, or hardly moves, at the base's tempo, with actions that go with it; of one whose commands
    do not go with the motion, the other steps; of one that goes another way, nothing. Needs a
    folder to keep, and datasets of ours (`robolearn convert` makes them)."""
    worst: pydantic.NonNegativeInt = 5
    """How many of the most harmful demonstrations are told of."""
    recorded: pydantic.NonNegativeInt = 3
    """How many demonstrations of each operator the viewer shows, if there is one, worst first."""
    judge: HarmJudgeConfig = HarmJudgeConfig()
    """Where the lines are."""


def judge_demonstrations(config: JudgeConfig, run: Run) -> dict[str, Any]:
    """Judge, print a table, draw ``report.png``, write what is kept.

    Summary: ``base`` (``harm`` of its own demonstrations, each held against the others), under
    ``operators`` by name what ``summary_of`` gives, under ``demonstrations`` what is known of each,
    ``clipped`` (steps), ``kept`` (a path, or None), and ``repaired`` (name -> steps that are kept).
    Demonstrations of fewer than 19 steps cannot be judged: new ones are listed as such, and not
    accepted; the base's are left out, with a warning.
    """
    base, news = _given(config)
    _require_within(config, [base, *news])
    base = _long_enough(base)
    judge = HarmJudge.of(
        base.states,
        base.actions,
        interface=base.interface,
        config=config.judge,
        limits=config.limits,
        clip=config.clip,
    )
    rows = _rows(news)
    found = _judged(judge, rows, run)
    clipped = {
        "base": sum(int(judge.limits.beyond(a).sum()) for a in base.actions),
        "new": sum(verdict.clipped for verdict in verdicts_of(found)),
    }
    if clipped["new"]:
        steps = sum(len(verdict.lost) for verdict in verdicts_of(found))
        warnings.warn(f"new demonstrations: {said_of(clipped['new'], steps)}", stacklevel=2)
    whose = config.base_operator or base.operators[0] or base.path.stem
    groups = grouped(found)
    draw_report(judge, groups, whose, run.path("report.png"))
    _say(config, groups, found, _basis(judge, base))
    if run.viewer is not None:
        _record(config, judge, list(zip(rows, found, strict=True)), run)
    repaired = _repaired(judge, rows, found) if config.repair else {}
    return {
        "base": {
            "path": base.path,
            "operator": whose,
            "demonstrations": len(base),
            "entries": judge.interface.observations["state"].names,
            "rejected": float((judge.own_harm > 1.0).mean()),
            "harm": judge.own_harm,
        },
        "new": [new.path for new in news],
        "accepted": float(np.mean([one.accepted for one in found])),
        "operators": {name: summary_of(some) for name, some in groups.items()},
        "demonstrations": [one.summary() for one in found],
        "clipped": clipped,
        "kept": _keep(config, news[0], found, repaired),
        "repaired": {name: len(kept) for name, kept in repaired.items()},
    }


def _given(config: JudgeConfig) -> tuple[Any, list[Any]]:
    """Read the base's demonstrations, and from each path the new ones that are not the base's."""
    read, fitted = load("demos.formats.demonstrations:read"), load("demos.data.arrays:fitted")
    paths = config.new or (config.base,)
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise DataError(f"new: {', '.join(paths)}: one of these is given twice")
    if config.repair:
        _require_repairable(config, paths)
    if config.keep is not None:
        if len(paths) > 1:
            raise DataError(f"keep={config.keep}: what is kept comes from one dataset; give one")
        load("demos.data.keep:require_free")(config.keep, Path(paths[0]))
    how = {
        "as_given": config.limits is not None,
        "clip": config.clip,
        "beside": (config.base, *paths),
    }
    base = read(config.base, config.obs, success=True, **how)
    base = _of_one_operator(base, config.base_operator)
    news = []
    for path in map(Path, paths):
        new = read(path, config.obs, success=config.success, **how)
        if path.resolve() == base.path.resolve():
            new = new.only(set(new.names) - set(base.names))
            if not len(new):
                raise DataError(f"{path} holds only the base's demonstrations: choose new=DATASET")
        base, new = fitted(base, new, config.common)
        news.append(new)
    return base, [fitted(base, new, config.common)[1] for new in news]


def _require_repairable(config: JudgeConfig, paths: Sequence[str]) -> None:
    """Raise DataError unless there is a folder to write to, and a dataset of ours to repair."""
    if config.keep is None or Path(config.keep).suffix:
        raise DataError("repair: what is repaired is written as a dataset: choose keep=FOLDER")
    if files := [path for path in paths if Path(path).is_file()]:
        raise DataError(
            f"repair: {files[0]} is a file, and datasets of ours are repaired: first "
            f"`robolearn convert {files[0]} FOLDER`, the base alike"
        )


def _of_one_operator(base: Any, operator: str | None) -> Any:
    whose = sorted(set(base.operators))
    if operator is None and len(whose) == 1:
        return base
    if operator is None and BASE not in whose:
        names = ", ".join(name or "(not told)" for name in whose)
        raise DataError(f"{base.path} is by several, {names}: choose with base_operator=NAME")
    return base.by(operator or BASE)


def _require_within(config: JudgeConfig, everybody: Sequence[Any]) -> None:
    """Raise DataError for the first demonstration that leaves its limits, before any judging."""
    for some in everybody:
        limits = ActionLimits.of(config.limits, config.clip, some.interface.action.shape[0])
        for name, actions in zip(some.names, some.actions, strict=True):
            limits.scale(actions, f"{some.path}: {name}")


def _long_enough(base: Any) -> Any:
    """Leave demonstrations out that are too short to judge by, and warn."""
    pairs = zip(base.names, base.actions, strict=True)
    short = {name: len(actions) for name, actions in pairs if len(actions) < LEAST_STEPS}
    if short:
        told = f"base demonstrations of fewer than {LEAST_STEPS} steps are left out: "
        warnings.warn(told + with_lengths(short), stacklevel=2)
    return base.only(set(base.names) - set(short))


def _rows(news: Sequence[Any]) -> list[_Row]:
    """Name each demonstration, by its dataset too if there are several, and its operator.

    Where nobody knows an operator, it is called as its dataset is: by the whole path, if another
    dataset has the same name.
    """
    count = Counter(new.path.stem for new in news)
    rows = []
    for new in news:
        called = new.path.stem if count[new.path.stem] == 1 else str(new.path)
        names = [f"{called}/{name}" if len(news) > 1 else name for name in new.names]
        operators = [operator or called for operator in new.operators]
        rows += [_Row(*row) for row in zip(names, operators, new.states, new.actions, strict=True)]
    return rows


def _judged(judge: HarmJudge, rows: Sequence[_Row], run: Run) -> list[Judged]:
    """Judge each operator's demonstrations together; give all in the order of the rows."""
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.operator, []).append(i)
    found: dict[int, Judged] = {}
    with run.counter(len(rows), "judging") as counter:
        for whose in groups.values():
            some = [rows[i] for i in whose if len(rows[i].actions) >= LEAST_STEPS]
            verdicts = judge.score_all([row.states for row in some], [row.actions for row in some])
            judged = iter(verdicts)
            for i in whose:
                row, steps = rows[i], len(rows[i].actions)
                verdict = next(judged) if steps >= LEAST_STEPS else None
                found[i] = Judged(row.name, row.operator, steps, verdict)
                figures = {"harm": verdict.harm} if verdict else {}
                run.log(len(found), accepted=float(found[i].accepted), **figures)
                counter.update()
    return [found[i] for i in range(len(rows))]


def _basis(judge: HarmJudge, base: Any) -> str:
    """Say which entries of the state are compared, and what cannot be seen of the actions."""
    state = judge.interface.observations["state"]
    told = f"compared by {state.shape[0]} entries of the state"
    if state.names:
        more = len(state.names) - MOST_NAMED
        told += f", {', '.join(state.names[:MOST_NAMED])}" + f" and {more} more" * (more > 0)
    return "\n".join(filter(None, [told, _unseen(judge, np.concatenate(base.actions))]))


def _unseen(judge: HarmJudge, actions: np.ndarray) -> str:
    """Say that no entry of the base's actions [M, A] is a gripper's, and why; "" if one is."""
    if judge.waits.values:
        return ""
    values = [np.unique(column) for column in np.round(judge.limits.scaled(actions), 3).T]
    pairs = zip(names_of(judge.interface.action), values, strict=True)
    resting = [name for name, some in pairs if len(some) == 2 and not some.all()]
    told = "not seen: waits and contrary commands, as no action switches between two values"
    if not resting:
        return told
    return (
        f"{told}; {', '.join(resting)} has two of which one is 0, which counts as rest: for a "
        "gripper give limits=[low, high] that are its two values"
    )


def _say(
    config: JudgeConfig, groups: dict[str, list[Judged]], found: Sequence[Judged], basis: str
) -> None:
    print(table_of_groups(groups) if config.by == "operator" else table_of_each(found))
    if told := list(worst(found, config.worst)):
        print("\nworst:", *told, sep="\n  ")
    if short := too_short(found):
        print(f"\n{short}")
    print(f"\n{basis}\n")


def _repaired(judge: HarmJudge, rows: Sequence[_Row], found: Sequence[Judged]) -> dict[str, Kept]:
    """Repair what is rejected, by name; what nothing is left of is not in it."""
    rejected = [
        (row, one.verdict)
        for row, one in zip(rows, found, strict=True)
        if one.verdict is not None and not one.accepted
    ]
    kept = {row.name: mended(judge, row.states, row.actions, verdict) for row, verdict in rejected}
    return {name: some for name, some in kept.items() if len(some)}


def _keep(
    config: JudgeConfig, new: Any, found: Sequence[Judged], repaired: Mapping[str, Kept]
) -> Path | None:
    if config.keep is None:
        return None
    names = [one.name for one in found if one.accepted or one.name in repaired]
    if not names:
        warnings.warn(f"keep={config.keep}: nothing is accepted, nothing is written", stacklevel=2)
        return None
    if config.repair:
        rejected = sum(not one.accepted for one in found)
        print(f"repaired: {len(repaired)} of the {rejected} that are not accepted\n")
    parts = {name: (some.rows, some.actions) for name, some in repaired.items()}
    return load("demos.data.keep:keep")(new, names, config.keep, parts)


def _record(
    config: JudgeConfig, judge: HarmJudge, judged: Sequence[tuple[_Row, Judged]], run: Run
) -> None:
    """Show the worst demonstrations of each operator: states, actions, residuals, what is lost."""
    from robolearn.viz import StepScores, replay_arrays

    interface, shown = _with_residuals(judge.interface), Counter[str]()
    judged = [(row, one) for row, one in judged if one.verdict is not None]
    for row, one in sorted(judged, key=lambda both: (both[1].operator, -both[1].verdict.harm)):
        shown[one.operator] += 1
        if shown[one.operator] > config.recorded:
            continue
        verdict = one.verdict
        told = np.zeros(len(verdict.lost), bool)
        for reason in verdict.reasons:
            told[reason.start : reason.end] = True
        values = {
            "progress_lost": verdict.lost,
            "waiting": verdict.waiting,
            "contrary": verdict.opposing,
            "largest_residual": verdict.mismatch,
        }
        replay_arrays(
            run.viewer,
            interface,
            {"state": row.states, "residual": verdict.residuals},
            row.actions,
            StepScores.along(values, {}, told),
            f"{one.name} of {one.operator}, harm {verdict.harm:.2f}: {said(verdict) or 'accepted'}",
        )


def _with_residuals(interface: Spec) -> Spec:
    names = tuple(f"residual_{name}" for name in names_of(interface.action))
    action = dataclasses.replace(interface.action, names=names_of(interface.action))
    residual = ArraySpec(interface.action.shape, "float64", names)
    observations = {**interface.observations, "residual": residual}
    return dataclasses.replace(interface, observations=observations, action=action)
