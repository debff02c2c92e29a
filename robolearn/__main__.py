"""The command line; its own words come without importing any simulator or learner."""

import contextlib
import errno
import json
import os
import select
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from robolearn import names
from robolearn.errors import KEPT, UserError, nearest

USAGE = """\
usage: robolearn LAUNCH [KEY=VALUE ...]        run a launch file, with changes
       robolearn list                          name the launch files, and what packages add
       robolearn show LAUNCH [KEY=VALUE ...]   print the resolved configuration
       robolearn view RUN                      open a run's recording, or a dataset, in Rerun
       robolearn doctor DATASET [--repair]     check a dataset of any format, and mend it
       robolearn convert SRC DST [KEY=VALUE ...]   bring a dataset into another format
       robolearn report DATASET [KEY=VALUE ...]    how good a dataset of any format is
       robolearn compare RUN [RUN ...]         runs side by side: table, intervals, curves
       robolearn robots COMMAND ...            real robots: find, check, calibrate, list
       robolearn --help | --version

LAUNCH is a path, or a name in ./launch or among the launch files that come with robolearn. KEY may
have dots (bc.dropout=0.1), VALUE is YAML. Every launch file takes seed=0, out=DIRECTORY, threads=1,
view=off|record|live and, where its verb can go on with a stopped run, resume=RUN.
sweep.KEY=[A, B] makes it many runs, one with each value (docs/sweeps.md).
"""
COMPARE = (
    "RUN [RUN ...] [score=KEY] [base=NAME] [tasks=KEY] [curve=KEY] [less=true|false] "
    "[tensorboard=true] [out=DIRECTORY]"
)
PUBLISHED = {  # group of entry points -> what installed packages publish in it
    names.VERBS: "verbs",
    names.ENVIRONMENTS: "environments",
    names.LEARNERS: "learners",
}
OF_ONES_OWN = (
    "Your own verbs, environments and operators go by module:function (see docs/your_own.md)."
)
RESULTS = ("report.png", "summary.json")  # of a run, if it has them; scripts read the last line
REPORT = "report.txt"  # a verb's own short account of its results
RECORDING = "recording.rrd"
SHORT_SUMMARY = 600  # characters
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
READER_GONE = 141  # 128 + SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line; give its exit code: 2 for what the user can put right.

    Where nobody reads on what it prints (``robolearn list | head -1``) it ends without a word.
    """
    try:
        code = _carry_out(arguments)
        print(end="", flush=True)  # a reader that is gone, or a full disk, is noticed here
        return code
    except BrokenPipeError:
        gone = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]
        if not gone:  # another pipe than ours
            raise
        _discard(gone)
        return READER_GONE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _discard([sys.stdout])
        print(f"robolearn: the output cannot be written: {error.strerror}", file=sys.stderr)
        return 2


def _carry_out(arguments: Sequence[str] | None) -> int:
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        _require_folder()
        with _one_line_warnings():
            return COMMANDS[command](rest) if command in COMMANDS else _run(command, rest)
    except UserError as error:
        print(f"robolearn: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        print("robolearn: interrupted", *(interruption.args or [KEPT]), sep="; ", file=sys.stderr)
        return INTERRUPTED


def _require_folder() -> None:
    """Raise UserError if the folder that the command is given in has been removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the current folder is gone; go to another one") from None


def _has_no_reader(stream: TextIO) -> bool:
    """Say whether a stream is a pipe, or a socket, that nobody reads from."""
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except (AttributeError, OSError):  # closed, or no file at all
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _discard(streams: Sequence[TextIO]) -> None:
    """Let streams lead nowhere: Python flushes them once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Print warnings without the lines of code that they come from."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"robolearn: warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def _run(name: str, overrides: Sequence[str]) -> int:
    if name.startswith("-"):
        raise UserError(f"unknown option '{name}'{nearest(name, COMMANDS)}")
    from robolearn.running import launch

    words = [command for command in COMMANDS if not command.startswith("-")]
    path = launch.find(name, words)
    if names.load("robolearn.sweeps.grid:is_sweep")(path, overrides):
        return _sweep(path, overrides)
    directory = launch.execute(launch.read(path, overrides))
    if directory is None:  # another process has the results
        return 0
    _say_results(directory)
    paths = (path for path in map(directory.joinpath, RESULTS) if path.exists())
    print(*paths, sep="\n", flush=True)
    if (directory / RECORDING).exists():
        print(f"robolearn view {shlex.quote(str(directory))}", file=sys.stderr)
    return 0


def _sweep(path: Path, overrides: Sequence[str]) -> int:
    swept = names.load("robolearn.sweeps.sweep:run_sweep")(path, overrides)
    if swept.compared is not None:
        print("", *swept.compared.lines, "", sep="\n", file=sys.stderr)
        print(*swept.compared.paths, sep="\n", flush=True)
    if swept.failed:
        print(f"robolearn: {swept.folder}: {swept.failed} runs failed", file=sys.stderr)
    return 1 if swept.failed else 0


def _say_results(directory: Path) -> None:
    """Print the verb's report, or a short summary, a line for each key; a long one is not."""
    if (directory / REPORT).exists():
        print((directory / REPORT).read_text(), file=sys.stderr)
        return
    text = (directory / "summary.json").read_text()
    if len(text) <= SHORT_SUMMARY:
        for key, value in json.loads(text, parse_float=_rounded).items():
            print(f"{key}: {json.dumps(value)}", file=sys.stderr)


def _rounded(number: str) -> float:
    """Read a number to four digits, a large one to the last that stands before the point."""
    value = float(number)
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value)


def _help(rest: Sequence[str]) -> int:
    print(USAGE, end="")
    return 0


def _version(rest: Sequence[str]) -> int:
    from importlib.metadata import version

    print(f"robolearn {version('robolearn')}")
    return 0


def _list(rest: Sequence[str]) -> int:
    _expect(rest, 0, "list")
    from robolearn.running import launch

    files = launch.launch_files()
    _say_table({name: launch.description(path) for name, path in files.items()})
    for group, what in PUBLISHED.items():
        if found := names.installed(group):
            print(f"\n{what.capitalize()} of installed packages:")
            _say_table({name: " or ".join(values) for name, values in found.items()})
    print(f"\n{OF_ONES_OWN}")
    return 0


def _say_table(rows: Mapping[str, str]) -> None:
    width = max(map(len, rows), default=0)
    for name, text in rows.items():
        print(f"{name:{width}}  {text}".rstrip())


def _show(rest: Sequence[str]) -> int:
    if not rest:
        raise UserError("expected: robolearn show LAUNCH [KEY=VALUE ...]")
    from robolearn.running import launch, strict_yaml

    path, overrides = launch.find(rest[0]), rest[1:]
    if names.load("robolearn.sweeps.grid:is_sweep")(path, overrides):
        sweep = names.load("robolearn.sweeps.grid:read")(path, overrides)
        settings = sweep.members[0].launch.settings() | {"sweep": sweep.settings()}
    else:
        settings = launch.read(path, overrides).settings()
    print(strict_yaml.dump(settings), end="")
    return 0


def _view(rest: Sequence[str]) -> int:
    _expect(rest, 1, "view RUN")
    path = Path(rest[0])
    is_dataset = names.load("demos.formats.show:is_dataset")(path)
    names.load("demos.formats.show:show" if is_dataset else "robolearn.viz:view")(path)
    return 0


def _doctor(rest: Sequence[str]) -> int:
    paths = [argument for argument in rest if argument != "--repair"]
    _expect(paths, 1, "doctor DATASET [--repair]")
    found = names.load("demos.formats.doctor:diagnose")(paths[0], repair="--repair" in rest)
    print("\n".join(found.lines))
    return 0 if found.healthy else 1


def _robots(rest: Sequence[str]) -> int:
    return names.load("robots.command:main")(rest)


def _convert(rest: Sequence[str]) -> int:
    paths = [argument for argument in rest if "=" not in argument]
    _expect(paths, 2, "convert SRC DST [format=...] [check=true] [KEY=VALUE ...]")
    from robolearn.running import config

    given = [argument for argument in rest if argument not in paths]
    settings = config.given(names.load("demos.formats.convert:ConvertConfig"), "convert", given)
    converted = names.load("demos.formats.convert:convert")(*paths, settings)
    print(*converted.lines(), sep="\n")
    return 0 if converted.check is None or converted.check.is_kept else 1


def _report(rest: Sequence[str]) -> int:
    paths = [argument for argument in rest if "=" not in argument]
    _expect(paths, 1, "report DATASET [base=OPERATOR] [out=DIRECTORY] [KEY=VALUE ...]")
    from robolearn.running import config

    given = [argument for argument in rest if argument not in paths]
    settings = config.given(names.load("demos.report.run:ReportConfig"), "report", given)
    reported = names.load("demos.report.run:report")(paths[0], settings)
    print(*reported.lines, "", *reported.paths, sep="\n")
    return 0


def _compare(rest: Sequence[str]) -> int:
    paths = [argument for argument in rest if "=" not in argument]
    if not paths or any(path.startswith("-") for path in paths):
        raise UserError(f"expected: robolearn compare {COMPARE}")
    from robolearn.running import config

    given = [argument for argument in rest if argument not in paths]
    settings = config.given(
        names.load("robolearn.comparing.compare:CompareConfig"), "compare", given
    )
    compared = names.load("robolearn.comparing.compare:compare")(paths, settings)
    print(*compared.lines, "", *compared.paths, sep="\n")
    return 0


def _expect(rest: Sequence[str], count: int, usage: str) -> None:
    if len(rest) != count or any(argument.startswith("-") for argument in rest):
        raise UserError(f"expected: robolearn {usage}")


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "--help": _help,
    "-h": _help,
    "--version": _version,
    "list": _list,
    "show": _show,
    "view": _view,
    "doctor": _doctor,
    "robots": _robots,
    "convert": _convert,
    "report": _report,
    "compare": _compare,
}

if __name__ == "__main__":
    sys.exit(main())
