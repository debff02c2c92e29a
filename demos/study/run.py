"""The compatibility study: do filtering and guidance repair what incompatible operators harm?

A study is several *replicates* that share nothing but the configuration: each has its own base
demonstrations, its own operators' demonstrations, its own networks, and its own evaluation start
states, which all of its conditions share. The stages, each a set of jobs that write files, so that
they run on several processes and a stopped study goes on where it was:

1. ``demonstrate``: every operator fills a dataset; the base operator fills two, one to train and
   calibrate on and one *held out*, which measures the false-rejection rate.
2. ``choose_network`` by the base operator's validation error; ``calibrate`` a Judge on the base
   demonstrations, and score every demonstration with every statistic. As the choice of the network
   has seen the calibration demonstrations too, the held out ones have the last word.
3. Unless harm decides, the statistic is chosen on the *tuning* operators, who are not reported.
4. ``condition``: train and evaluate the base, and for each operator
   naive        base + all of the operator's demonstrations,
   matched      base + a compatible operator's, as many steps: harm that is not for want of data,
   filtered     base + those that the judge lets pass,
   repaired     base + those, and such as wait at the base's tempo (by harm only),
   random_drop  base + all, without as much, drawn at random from base and operator alike,
   informed     base + as many accepted ones of an operator who heeds rejections.

``robolearn compatibility_square sweep.replicate=[0,1,2,3,4]`` makes each replicate a run of its
own, on several machines if asked, and ``gathered=FOLDER`` the study of them.

Gandhi, Karamcheti, Liao, Sadigh, "Eliciting Compatible Demonstrations for Multi-Human Imitation
Learning" (CoRL 2022).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from demos.study.config import StudyConfig
from demos.study.replicate import HELD_OUT, Replicate
from demos.study.report import draw_report, report_text
from demos.study.results import choose_statistic, summarise
from robolearn.comparing.conditions import folders_of
from robolearn.comparing.scores import SUMMARY
from robolearn.errors import UserError
from robolearn.running import launch
from robolearn.running.processes import Died, Processes, as_done
from robolearn.running.run import Run, how_to_go_on, replace_text

UNJUDGED = ("naive", "matched")  # conditions that no verdict decides
Job = tuple[Any, ...]  # a function and its arguments


def run_study(config: StudyConfig, run: Run) -> dict[str, Any]:
    """Run every stage, record some demonstrations, return the summary.

    Keeps ``report.png``, and ``report.txt``, which the command line prints.
    """
    if config.gathered is not None:
        _gather(Path(config.gathered), run)
    alone = range(config.replicates) if config.replicate is None else [config.replicate]
    replicates = [Replicate(config, run.directory, run.seed, i) for i in alone]
    conditions = [(o, c) for c in config.conditions for o in config.operators]
    unjudged = [("base", "base"), *((o, c) for o, c in conditions if c in UNJUDGED)]
    judged = [(o, c) for o, c in conditions if c not in UNJUDGED]
    with Processes(config.workers, initializer=_one_thread) as processes:
        jobs: list[Job] = [(r.demonstrate, name) for r in replicates for name in r.datasets]
        _stage(processes, run, "demonstrations", jobs)
        _stage(processes, run, "networks", [(r.choose_network,) for r in replicates])
        jobs = [(r.calibrate,) for r in replicates]
        jobs += [(r.condition, *job, "") for job in unjudged for r in replicates]
        _stage(processes, run, "judges, naive policies", jobs)
        statistic = choose_statistic(config, [r.scores() for r in replicates])
        jobs = [(r.condition, *job, statistic) for job in judged for r in replicates]
        _stage(processes, run, "filtered and informed policies", jobs)
    for r in replicates:
        success = {f"{o}/{c}": r.evaluation(o, c)["success"] for o, c in unjudged + judged}
        run.log(r.index, **success)
    summary = summarise(config, replicates, statistic)
    replace_text(run.path("report.txt"), report_text(summary))
    draw_report(summary, [r.scores() for r in replicates], run.path("report.png"))
    if run.viewer is not None:
        from demos.study.replay import record  # the viewer's packages take a second to import

        record(replicates[0], (HELD_OUT, *config.operators), statistic, run)
    return summary


def _stage(processes: Processes, run: Run, label: str, jobs: Sequence[Job]) -> None:
    """Do all jobs, and show how far they are; the first error comes out, and ends the others.

    Raises UserError if a process dies, which is mostly for want of memory.
    """
    futures = [processes.submit(*job) for job in jobs]
    try:
        with run.counter(len(jobs), label) as counter:
            for future in as_done(futures):
                future.result()
                counter.update()
    except Died:
        hint = how_to_go_on(run.directory)
        raise UserError(
            f"{label}: a worker process died (out of memory, killed or crashed); {hint}"
        ) from None


def _gather(folder: Path, run: Run) -> None:
    """Copy the replicates of runs that have ended, unless they are here; the others are done here.

    Raises UserError if a run there is no part of this study.
    """
    config = run.path("config.yaml")
    mine = launch.read(config)
    for part in folders_of([folder]):
        launch.require_same(mine, part / config.name, f"'gathered={folder}'")
        replicates = part.glob("replicate_*") if (part / SUMMARY).exists() else []
        for replicate in replicates:
            here = run.path(replicate.name)
            if not here.exists():
                half = here.with_name(f".{here.name}")
                shutil.copytree(replicate, half, dirs_exist_ok=True)
                half.rename(here)


def _one_thread() -> None:
    torch.set_num_threads(1)
