"""Launch files: find them, read them into a verb's configuration, and run it.

A launch file is YAML that names its ``verb``; its other keys are the common ones of ``Common`` and
the fields of the verb's configuration dataclass (``robolearn.running.registry.VERBS``).
``config.yaml`` of any run is a launch file too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from annotated_types import Ge, Le

from robolearn import torchrun
from robolearn.errors import KEPT, OptionError, UserError, close, nearest
from robolearn.running import config as configuration
from robolearn.running import registry

CHANGEABLE = {"out", "resume", "view", "threads", "label"}  # no result depends on them
MOST_THREADS = 1024
RECORDING = ("collect", "teleop")  # verbs that make datasets


@dataclass(frozen=True)
class Common:
    """The keys that every launch file may have."""

    verb: str
    """What to do: a name of ``robolearn.running.registry.VERBS`` or of an installed package, or
    "module:function" of one's own."""
    seed: pydantic.NonNegativeInt = 0
    """All randomness follows from it."""
    out: str | None = None
    """The run's directory; by default ``runs/<launch>/<time>-<seed>``."""
    resume: str | None = None
    """Directory of a stopped run to go on in."""
    label: str | None = None
    """What comparisons call it, with other runs of that label; no result depends on it."""
    view: Literal["off", "record", "live"] = "off"
    """Rerun: into ``recording.rrd``, or a live viewer as well."""
    threads: Annotated[int, Ge(1), Le(MOST_THREADS)] = 1
    """Threads of torch; small networks are fastest with one."""
    sweep: dict[str, Any] | None = None
    """Many runs in place of one: lists of values by key, and how they are run (docs/sweeps.md)."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What code wrote this file; written by runs, not read."""


@dataclass(frozen=True)
class Launch:
    """A launch file that was read and checked."""

    name: str
    common: Common
    verb: registry.Verb
    config: Any  # the verb's dataclass
    source: configuration.Source

    def settings(self) -> dict[str, Any]:
        """Give the resolved configuration of a run as plain values, in a launch file's layout."""
        common = configuration.plain(self.common)
        del common["provenance"], common["sweep"]
        return common | configuration.plain(self.config)


def folders() -> list[Path]:
    """List where launch files are looked up: ``./launch``, then beside the installed package."""
    own = Path(__file__).resolve().parents[2] / "launch"
    here = Path("launch")
    return [here, own] if here.resolve() != own else [here]


def launch_files() -> dict[str, Path]:
    """Give every launch file that has a name: ``{"lift": launch/lift.yaml}``."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in filter(_is_file, sorted(folder.glob("*.yaml"))):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def find(name: str, also_known: Iterable[str] = ()) -> Path:
    """Find a launch file by path or name, with or without ``.yaml``; UserError if there is none.

    ``also_known`` are names that are offered beside those of launch files when one is misspelt.
    """
    for folder in (Path(), *folders()):
        for path in (folder / name, folder / f"{name}.yaml"):
            if _is_file(path):
                return path
    if "/" in name or name.endswith(".yaml"):
        raise UserError(f"{name}: no such file{close(Path(name).stem, launch_files())}")
    raise UserError(f"no launch file '{name}'{nearest(name, [*launch_files(), *also_known])}")


def description(path: Path) -> str:
    """Give the first comment line of a launch file; of one that cannot be read, that."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return "(cannot be read)"
    comments = (line.lstrip("# ").rstrip() for line in lines if line.startswith("#"))
    return next(comments, "")


def maker_of_run(path: str) -> str:
    """Say which launch file makes runs in a folder: ``"; `robolearn bc_lift` makes one"``.

    One that records demonstrations makes runs without a checkpoint, and is not named.
    """
    from robolearn.running.run import RUNS

    for name, file in launch_files().items():
        if RUNS / name == Path(path):
            with contextlib.suppress(UserError):  # a faulty file makes nothing
                if configuration.read(file).values.get("verb") not in RECORDING:
                    return f"; `robolearn {name}` makes one"
    return ""


def maker_of_dataset(path: str) -> str:
    """Say which launch file records a dataset: ``"; `robolearn collect_lift` makes it"``."""
    for name, file in launch_files().items():
        with contextlib.suppress(UserError):  # a faulty file makes nothing
            values = configuration.read(file).values
            if values.get("verb") in RECORDING and values.get("dataset") == path:
                return f"; `robolearn {name}` makes it"
    return ""


def read(path: Path, overrides: Sequence[str] = ()) -> Launch:
    """Read and check a launch file with its overrides; UserError says where it is wrong."""
    return checked(configuration.read(path, overrides))


def checked(source: configuration.Source) -> Launch:
    """Make what was read into the configurations that it is for; UserError as ``read``."""
    names = {f.name for f in dataclasses.fields(Common)}
    ours = {key: value for key, value in source.values.items() if key in names}
    theirs = {key: value for key, value in source.values.items() if key not in names}
    common = configuration.build(Common, source, ours)
    verb = registry.verb(common.verb, source.where(("verb",)))
    if common.resume is not None and not verb.resumable:
        raise UserError(f"{source.where(('resume',))}: '{common.verb}' cannot be resumed")
    if common.resume is not None and common.out is not None:
        raise UserError(f"{source.where(('resume',))}: goes on in its own directory, without out=")
    kind = verb.load_config()
    taken = names & {f.name for f in dataclasses.fields(kind)}
    if taken:
        raise UserError(f"{kind.__name__}.{min(taken)}: a key of every launch file; rename it")
    config = configuration.build(kind, source, theirs, also_known=names)
    return Launch(source.path.stem, common, verb, config, source)


def execute(launch: Launch) -> Path | None:
    """Run a launch file's verb in a run directory, which is returned.

    Of several processes that torchrun has started one does; None from the others, which take part.
    UserError for a verb that is for one process.

    A KeyboardInterrupt that comes out says what is kept, in the verb's own words if it gives some
    with one, and how to go on, if the verb can.
    """
    import torch

    from robolearn.running import run as runs

    common = launch.common
    torch.set_num_threads(common.threads)
    function = launch.verb.load_function()
    if torchrun.size() > 1 and not launch.verb.parallel:
        raise UserError(f"'{common.verb}' is for one process: start it without torchrun")
    if torchrun.rank():
        with tempfile.TemporaryDirectory() as nothing:
            with runs.Follower(Path(common.resume or nothing), common.seed) as run:
                function(launch.config, run)
        return None
    if common.resume is None:
        directory = runs.new_directory(launch.name, common.seed, common.out)
        runs.write_config(directory, launch.settings() | {"out": None})
    else:
        directory = runs.old_directory(common.resume)
        require_same(launch, directory / "config.yaml", f"'resume={common.resume}'")
    try:
        with runs.Run(directory, common.seed, common.view) as run:
            run.finish(_summary(function(launch.config, run), common.verb))
    except UserError as error:
        runs.discard_if_empty(directory)
        if isinstance(error, OptionError) and (place := _place_of_option(launch, error.option)):
            raise UserError(f"{place}: {error}") from None
        raise
    except KeyboardInterrupt as interruption:
        hints = [runs.how_to_go_on(directory)] if launch.verb.resumable else []
        raise KeyboardInterrupt(*(interruption.args or [KEPT]), *hints) from None
    return directory


def _place_of_option(launch: Launch, option: str) -> str | None:
    """Say where an option of an environment was written, which does not know it.

    Whoever changes an environment's name may not know of the options that the file gives it.
    """
    for section in dataclasses.fields(launch.config):
        env = getattr(launch.config, section.name)
        if isinstance(env, configuration.EnvConfig) and option in env.options:
            return launch.source.where((section.name, "options", option))
    return None


def _is_file(path: Path) -> bool:
    """Say whether there is a file; no path is too long, or in too private a folder, to ask."""
    try:
        return path.is_file()
    except OSError:
        return False


def _summary(summary: Any, verb: str) -> Mapping[str, Any]:
    """Give back what a verb returned; UserError if it is no mapping, as one's own may forget."""
    if not isinstance(summary, Mapping):
        raise UserError(f"verb '{verb}' returned {type(summary).__name__}, not a dict of results")
    return summary


def require_same(launch: Launch, earlier: Path, where: str) -> None:
    """Raise UserError, which begins with ``where``, unless a run is configured as it was.

    ``earlier`` is its resolved configuration: a setting that is not in it is newer than the run,
    was no part of it, and may be anything.
    """
    ours, theirs = flat(launch.settings()), flat(read(earlier).settings())
    newer = theirs.keys() - flat(configuration.read(earlier).values).keys()
    changeable = CHANGEABLE | set(launch.verb.changeable) | newer
    for key in sorted((ours.keys() | theirs.keys()) - changeable):
        if ours.get(key) != theirs.get(key):
            was, now = theirs.get(key), ours.get(key)
            raise UserError(f"{where}: that run has {key}={was!r}, not {now!r}")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give the values of nested mappings under dotted keys: ``{"ppo.gamma": 0.99}``."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
