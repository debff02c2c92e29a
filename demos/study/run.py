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

Gandhi, Karamcheti, Liao, Sadigh, "Eliciting Compatible Demonstrations for Multi-Human Imitation
Learning" (CoRL 2022).
"""

from __future__ import annotations

from typing import Any

from demos.study.config import StudyConfig
from demos.study.pool import Pool
from demos.study.replicate import HELD_OUT, Replicate
from demos.study.report import draw_report, report_text
from demos.study.results import choose_statistic, summarise
from robolearn.running.run import Run, replace_text

UNJUDGED = ("naive", "matched")  # conditions that no verdict decides


def run_study(config: StudyConfig, run: Run) -> dict[str, Any]:
    """Run every stage, record some demonstrations, return the summary.

    Keeps ``report.png``, and ``report.txt``, which the command line prints.
    """
    replicates = [Replicate(config, run.directory, run.seed, i) for i in range(config.replicates)]
    conditions = [(o, c) for c in config.conditions for o in config.operators]
    unjudged = [("base", "base"), *((o, c) for o, c in conditions if c in UNJUDGED)]
    judged = [(o, c) for o, c in conditions if c not in UNJUDGED]
    with Pool(config.workers, run) as pool:
        pool.stage("demonstrations", [(r.demonstrate, n) for r in replicates for n in r.datasets])
        pool.stage("networks", [(r.choose_network,) for r in replicates])
        jobs: list[tuple[Any, ...]] = [(r.calibrate,) for r in replicates]
        jobs += [(r.condition, *job, "") for job in unjudged for r in replicates]
        pool.stage("judges, naive policies", jobs)
        statistic = choose_statistic(config, [r.scores() for r in replicates])
        jobs = [(r.condition, *job, statistic) for job in judged for r in replicates]
        pool.stage("filtered and informed policies", jobs)
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
