"""``robolearn report DATASET``: a table, ``report.png``, ``report.json`` and ``recording.rrd``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydantic

from demos.formats import guess
from demos.formats.contract import Reading, Source
from demos.report.findings import Finding, Lines, findings_of
from demos.report.measures import series_of
from demos.report.picture import draw_report
from demos.report.quality import Quality, look_at
from demos.report.scales import loaded
from demos.report.table import as_json, lines_of
from robolearn.errors import UserError
from robolearn.files import cannot_write
from robolearn.running.counter import Counter
from robolearn.running.run import jsonable, new_directory, replace_text
from robolearn.types import Spec
from robolearn.viz import StepScores, Viewer, replay_arrays

PICTURE, FIGURES, RECORDING = FILES = ("report.png", "report.json", "recording.rrd")


@dataclass(frozen=True)
class ReportConfig(Reading):
    """What a report looks at, and where it goes."""

    base: str | None = None
    """Whose successful episodes the others' are held against: an operator, or a mask; None for the
    operator called "base", or the one with most successes."""
    out: str | None = None
    """The folder of the report; None for one in runs/report/."""
    recorded: pydantic.NonNegativeInt = 4
    """How many episodes are recorded for Rerun: a typical one, then those that stand out most."""
    images: bool = True
    """Whether cameras are looked at, too: most of the time goes there."""
    lines: Lines = Lines()
    """From where on something stands out."""


@dataclass(frozen=True)
class Reported:
    """What came of it."""

    lines: list[str]
    paths: list[Path]


def report(path: str | Path, config: ReportConfig) -> Reported:
    """Measure a dataset of any format, and write what was found.

    Raises DataError for what is none, or of which nothing can be read; UserError for ``out`` where
    a report lies already.
    """
    _require_free(config.out)
    source = guess.open_source(path, config)
    try:
        quality = look_at(source, config.base, config.images)
        findings = findings_of(quality, config.lines)
        folder = new_directory("report", 0, config.out)
        paths = [folder / PICTURE, folder / FIGURES]
        try:
            draw_report(quality, findings, config.lines, paths[0])
        except OSError as error:
            raise cannot_write(paths[0], error) from error
        told = jsonable(as_json(quality, findings, config.lines))
        replace_text(paths[1], json.dumps(told, indent=2, allow_nan=False) + "\n")
        if config.recorded:
            paths.append(folder / RECORDING)
            _record(source, quality, findings, config, paths[-1])
    finally:
        source.close()
    return Reported(list(lines_of(quality, findings)), paths)


def _require_free(out: str | None) -> None:
    for name in FILES if out is not None else ():
        if (Path(out) / name).exists():
            raise UserError(f"'out={out}': holds {name} already; choose another folder")


def _record(
    source: Source,
    quality: Quality,
    findings: Sequence[Finding],
    config: ReportConfig,
    path: Path,
) -> None:
    """Show a typical episode and those that stand out most, with what is measured along them."""
    chosen = _worth_seeing(quality, findings, config.recorded)
    with Viewer(path=path, live=False) as viewer:
        with Counter(len(chosen), "recording", "episodes") as bar:
            for name, why in chosen.items():
                episode = loaded(source, name, config.images)
                measured = series_of(episode, quality.scales)
                values = {
                    f"speed_of_{quality.scales.motion.what}": measured.speed,
                    "paused": measured.paused,
                    "action_at_limit": measured.saturated,
                }
                seen = {key: array[:-1] for key, array in episode.observations.items()}
                scores = StepScores.along(values, {}, measured.paused)
                interface = _of_seen(source.interface, seen)
                text = f"{name}: {why}"
                replay_arrays(viewer, interface, seen, episode.actions, scores, text)
                bar.update()


def _of_seen(interface: Spec, seen: Mapping[str, np.ndarray]) -> Spec:
    """Give an interface of what was seen alone."""
    observations = {name: a for name, a in interface.observations.items() if name in seen}
    return Spec(
        interface.environment, observations, interface.action, interface.period_s, interface.robot
    )


def _worth_seeing(quality: Quality, findings: Sequence[Finding], count: int) -> dict[str, str]:
    """Choose a typical episode, and those of most findings; say of each why."""
    why: dict[str, list[str]] = {one.name: [] for one in quality.found}
    for finding in findings:
        for name in finding.episodes:
            if name in why:
                why[name].append(finding.measure)
    plain = [one for one in quality.found if not why[one.name]] or list(quality.found)
    median = np.median([one.steps for one in quality.found])
    typical = min(plain, key=lambda one: abs(one.steps - median)).name
    worst = sorted((name for name in why if why[name]), key=lambda name: -len(why[name]))
    told = {typical: "typical"}
    told |= {name: f"stands out: {', '.join(dict.fromkeys(why[name]))}" for name in worst}
    return dict(list(told.items())[:count])
