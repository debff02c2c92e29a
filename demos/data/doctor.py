"""Examine a dataset file by file, and repair what can be repaired without touching an episode.

A damaged or foreign file is named and left alone: only its owner knows what it is worth. Files of
earlier versions lack the keys that robomimic asks for; a repair writes them anew, with the same
episode inside (its checksum is verified), and a kill leaves the old file or the new one.
"""

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from demos.data import index
from demos.data.dataset import ABOUT, read_about, require_fit
from demos.data.episode_file import EpisodeFileError, observation_names, read_episode, written_anew
from demos.data.index import EPISODE_FILE, EPISODES, INDEX, Entry
from demos.data.locks import locked
from demos.data.robomimic_keys import robomimic_keys
from demos.data.transitions import CACHE
from robolearn.errors import DataError, SpecError
from robolearn.files import TEMPORARY, cannot_write, write_atomically
from robolearn.types import Spec

OK = "ok"
NOT_FINITE = "not finite"
MISFIT = "does not fit the interface"
TEMPORARY_FILE = "stray temporary"
STALE = "stale"  # the index
ELSEWHERE = "made elsewhere"  # the index; it says what is in the folder, but of a copy of the files
HEALTHY = (OK, ELSEWHERE)
REPAIRABLE = (TEMPORARY_FILE, STALE, ELSEWHERE)


@dataclass(frozen=True)
class Finding:
    """What is the matter with one file.

    ``status`` is "ok", "truncated", "damaged", "foreign", "not finite", "does not fit the
    interface", "stray temporary", or (for the index) "stale" or "made elsewhere".
    """

    file: str  # relative to the dataset
    status: str
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """What was found, before any repair, and what was then repaired."""

    dataset: Path
    findings: list[Finding]
    repaired: list[str] = field(default_factory=list)  # files
    gaps: list[str] = field(default_factory=list)  # episodes that are gone: "demo_3 to demo_5"

    @property
    def healthy(self) -> bool:
        """Say whether everything is in order now."""
        return all(f.status in HEALTHY or f.file in self.repaired for f in self.findings)


def doctor(path: str | Path, repair: bool = False) -> Report:
    """Examine every file of the dataset; every episode is read whole, one at a time.

    ``repair`` removes stray temporaries and the cache (it is rebuilt when needed), adds robomimic's
    keys to episodes that lack them, and rebuilds the index; no collection is disturbed by it.
    Raises DataError if ``path`` is not a dataset.
    """
    path = Path(path)
    interface, env_options = read_about(path)
    findings = list(_examine_episodes(path, interface))
    with locked(path / ABOUT):  # nobody writes now: what is temporary was left behind
        old = _without_keys(path, interface, findings)
        gaps = list(_gaps(path))
        findings += [*_strays(path), _examine_index(path, len(old))]
        if repair:
            _clean(path, findings)
            for file in old:
                write_atomically(file, written_anew(file, robomimic_keys(interface)))
            index.update_index(path, index.env_args(interface, env_options))
    repairable = [f.file for f in findings if f.status in REPAIRABLE]
    return Report(path, findings, repairable if repair else [], gaps)


def report_lines(report: Report) -> list[str]:
    """Put the report in lines to print: what is not in order or gone, then a count."""
    lines = []
    for finding in report.findings:
        if finding.status != OK:
            detail = f" ({finding.detail})" if finding.detail else ""
            lines.append(f"{finding.file}: {finding.status}{detail}; {_verdict(finding, report)}")
    if report.gaps:
        lines.append(f"{EPISODES}: without {', '.join(report.gaps)}: deleted, or moved away")
    episodes = [f for f in report.findings if EPISODE_FILE.fullmatch(Path(f.file).name)]
    good = sum(finding.status == OK for finding in episodes)
    return [*lines, f"{report.dataset}: {good} of {len(episodes)} episodes in order"]


def _verdict(finding: Finding, report: Report) -> str:
    if finding.file in report.repaired:
        return "repaired"
    if finding.status == ELSEWHERE:
        return "made anew when the dataset is opened"
    if finding.status in REPAIRABLE:
        return "--repair mends it"
    return "left alone: move it away"


def _examine_episodes(dataset: Path, interface: Spec) -> Iterator[Finding]:
    for path in sorted((dataset / EPISODES).iterdir()):
        if path.suffix != TEMPORARY:
            yield Finding(f"{EPISODES}/{path.name}", *_examine(path, interface))


def _examine(path: Path, interface: Spec) -> tuple[str, str]:
    """Give an episode file's status and the detail."""
    if not EPISODE_FILE.fullmatch(path.name):
        return "foreign", "its name is not that of an episode"
    try:
        episode = read_episode(path)
        require_fit(interface, episode, path.name)
        episode.require_finite(path.name)
    except EpisodeFileError as error:
        return error.status, error.detail
    except SpecError as error:
        return MISFIT, str(error)
    except DataError as error:
        return NOT_FINITE, str(error)
    return OK, ""


def _strays(dataset: Path) -> Iterator[Finding]:
    for folder in (dataset, dataset / EPISODES):
        for path in sorted(folder.glob(f".*{TEMPORARY}")):
            yield Finding(str(path.relative_to(dataset)), TEMPORARY_FILE)


def _without_keys(dataset: Path, interface: Spec, findings: list[Finding]) -> list[Path]:
    """List the episodes in order whose files lack a key of robomimic's that they could have."""
    keys = robomimic_keys(interface).keys()
    in_order = [dataset / finding.file for finding in findings if finding.status == OK]
    return [file for file in in_order if keys and keys - observation_names(file)]


def _gaps(dataset: Path) -> Iterator[str]:
    """Name what is missing among the episodes: they are numbered without gaps, and once only."""
    found = index.read_index(dataset)
    known = max((entry.number for entry in found[0]), default=-1) if found else -1
    files = (EPISODE_FILE.fullmatch(path.name) for path in (dataset / EPISODES).iterdir())
    numbers = sorted(int(file[1]) for file in files if file)
    for before, after in itertools.pairwise([-1, *numbers, max(known, *numbers, -1) + 1]):
        first, last = before + 1, after - 1
        if first <= last:
            yield f"demo_{first}" if first == last else f"demo_{first} to demo_{last}"


def _examine_index(dataset: Path, without_keys: int) -> Finding:
    found = index.read_index(dataset)
    if found is None:
        return Finding(INDEX, STALE, "missing or unreadable")
    there = index.scan(dataset, found[0])  # a file whose time is another is read anew
    if _timeless(there) != _timeless(found[0]):
        return Finding(INDEX, STALE, "it does not say what is in the folder")
    if without_keys:
        return Finding(INDEX, STALE, f"robomimic's keys are missing in {without_keys} of the files")
    if there != found[0]:
        return Finding(INDEX, ELSEWHERE, "of the same episodes, copied or touched since")
    return Finding(INDEX, OK)


def _timeless(entries: list[Entry]) -> list[Entry]:
    """Give what entries say of their episodes, whenever the files were written."""
    return [replace(entry, changed_ns=0) for entry in entries]


def _clean(dataset: Path, findings: list[Finding]) -> None:
    """Remove stray temporaries, and the cache, which may hold some too."""
    try:
        for finding in findings:
            if finding.status == TEMPORARY_FILE:
                (dataset / finding.file).unlink()
        if (dataset / CACHE).exists():
            shutil.rmtree(dataset / CACHE)
    except OSError as error:
        raise cannot_write(dataset / EPISODES, error) from error
