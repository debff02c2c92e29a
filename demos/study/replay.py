"""A study's recording: the operators' first demonstrations, with what the judge says of them."""

from __future__ import annotations

from collections.abc import Sequence

from demos.study.replicate import Replicate, judge_together
from robolearn.judging.harm import HarmJudge
from robolearn.judging.judge import Judge, Verdict
from robolearn.judging.verdicts import HarmVerdict
from robolearn.running.run import Run
from robolearn.viz import StepScores, replay_episode


def record(replicate: Replicate, operators: Sequence[str], statistic: str, run: Run) -> None:
    """Replay the operators' first demonstrations in the viewer, with the judge's scores."""
    judge, config = replicate.judge(statistic), replicate.config
    env = run.make_env(config.env)
    for operator in operators:
        verdicts = judge_together(judge, replicate.demonstrations(operator))
        episodes = replicate.episodes(operator)[: config.recorded]
        for i, (episode, verdict) in enumerate(zip(episodes, verdicts, strict=False)):
            text, curves = f"{operator}, demonstration {i}: {_said(verdict)}", None
            if verdict is not None:
                curves = _curves(judge, verdict)
            replay_episode(run.viewer, env, episode, curves, text)


def _said(verdict: Verdict | HarmVerdict | None) -> str:
    if verdict is None:
        return "too short to judge"
    word = "accepted" if verdict.accepted else f"rejected: {_why(verdict)}"
    return f"{word} (p = {verdict.p_value:.2f})"


def _why(verdict: Verdict | HarmVerdict) -> str:
    if isinstance(verdict, Verdict):
        return verdict.cue
    return "; ".join(reason.text for reason in verdict.reasons)


def _curves(judge: Judge | HarmJudge, verdict: Verdict | HarmVerdict) -> list[StepScores]:
    """Give what the viewer shows beside a demonstration."""
    if isinstance(judge, HarmJudge):
        series = {
            "lost": verdict.lost,
            "waiting": verdict.waiting,
            "contrary": verdict.opposing,
            "mismatch": verdict.mismatch,
        }
        return StepScores.along(series, {"lost": judge.step_line}, verdict.lost > judge.step_line)
    series = {"M": verdict.M, "L": verdict.scores.L, "N": verdict.scores.N}
    thresholds = {"L": judge.scale.lam, "N": judge.scale.eta}
    return StepScores.along(series, thresholds, verdict.incompatible)
