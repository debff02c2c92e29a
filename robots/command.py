"""``robolearn robots ...``: what there is, whether a driver keeps its contract, calibration."""

from __future__ import annotations

import dataclasses
import glob
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from robolearn import signals
from robolearn.errors import UserError, nearest
from robolearn.names import load
from robots.clocks import RealClock, SimulatedClock
from robots.conformance import Result, check
from robots.registry import ROBOTS, SIMULATED, make_robot

USAGE = """\
usage: robolearn robots list                               say which robots there are
       robolearn robots find                               list serial ports and cameras
       robolearn robots check ROBOT [KEY=VALUE ...]        hold a driver against the contract
       robolearn robots calibrate ROBOT [KEY=VALUE ...]    find out what raw positions mean
       robolearn robots serve ROBOT [KEY=VALUE ...]        let another machine drive it (remote)

ROBOT is a name, or module:Class of one's own; KEY=VALUE are its options. `check` reads first, and
moves every joint a little after you have agreed; --motion agrees, --read-only never asks. `serve`
listens at this machine only, or at --host=ADDRESS, --port=NUMBER, takes --rate=HZ commands, 100 if
nothing is said, through the guard, and keeps its token in --token_file=PATH.
"""
FOLDERS = ("/dev/serial/by-id/*", "/dev/ttyACM*", "/dev/ttyUSB*", "/dev/cu.usb*")
CAMERAS = "/dev/video*"


def main(arguments: Sequence[str]) -> int:
    """Carry out ``robolearn robots ...``; give the exit code."""
    command, *rest = arguments or ["--help"]
    if command not in COMMANDS:
        raise UserError(f"robots: unknown command '{command}'{nearest(command, COMMANDS)}")
    return COMMANDS[command](rest)


def ports(folders: Sequence[str] = FOLDERS) -> list[tuple[str, str]]:
    """Give serial ports with the name of what is plugged in there, where it is known."""
    named, found = {}, []
    for pattern in folders:
        for path in sorted(glob.glob(pattern)):
            device = str(Path(path).resolve())
            if "by-id" in pattern:
                named[device] = Path(path).name
            elif device not in found:
                found.append(device)
    return [(device, named.get(device, "")) for device in sorted({*found, *named})]


def _find(rest: Sequence[str]) -> int:
    _expect(rest, 0, "find")
    found = ports()
    for device, what in found:
        print(f"{device}  {what}".rstrip())
    for path in sorted(glob.glob(CAMERAS)):
        name = Path("/sys/class/video4linux") / Path(path).name / "name"
        print(f"{path}  {name.read_text().strip() if name.exists() else ''}".rstrip())
    if not found:
        print("no serial port: plug the arm in; on Linux you must be in the group dialout")
    return 0


def _list(rest: Sequence[str]) -> int:
    _expect(rest, 0, "list")
    wide, wider = max(map(len, ROBOTS)), max(len(entry.about) for entry in ROBOTS.values())
    for name, entry in sorted(ROBOTS.items()):
        print(f"{name:{wide}}  {entry.about:{wider}}  needs {entry.needs}")
    print("\nA robot of your own goes by module:Class (see docs/robots.md).")
    return 0


def _check(rest: Sequence[str]) -> int:
    flags = [word for word in rest if word.startswith("-")]
    for flag in flags:
        if flag not in ("--motion", "--read-only"):
            hint = nearest(flag, ["--motion", "--read-only"])
            raise UserError(f"robots check: unknown option '{flag}'{hint}")
    name, options = _robot([word for word in rest if not word.startswith("-")], "check")
    clock = SimulatedClock() if name in SIMULATED else RealClock()
    robot = make_robot(name, options, clock=clock)
    print("reading only; nothing moves")
    if not _passed(check(robot, clock, motion=False)):
        return 1
    if "--read-only" in flags or not ("--motion" in flags or _agreed(robot.name)):
        return 0
    print("with motion")
    with load("sim.engine.compiling:announcing")("the safety filter"):
        return 0 if _passed(check(robot, clock, motion=True)) else 1


def _calibrate(rest: Sequence[str]) -> int:
    name, options = _robot(rest, "calibrate")
    robot = make_robot(name, options, clock=RealClock())
    if not getattr(robot, "calibrates", True):
        print(f"{robot.name}: there is nothing to calibrate")
        return 0
    robot.connect(calibrate=False)
    try:
        robot.calibrate()
    except EOFError:
        raise UserError("robots calibrate: nobody is at a terminal to move the arm") from None
    finally:
        robot.disconnect()
    return 0


def _serve(rest: Sequence[str]) -> int:
    from robots.guard import Guard  # with aiohttp, a second to load
    from robots.remote import tokens
    from robots.remote.server import Server, ServerConfig

    settings = {"rate": "100"} | dict(
        word.removeprefix("--").partition("=")[::2] for word in rest if word.startswith("--")
    )
    name, options = _robot([word for word in rest if not word.startswith("--")], "serve")
    known = [field.name for field in dataclasses.fields(ServerConfig)]
    for key in settings:
        if key not in (*known, "rate"):
            raise UserError(f"robots serve: unknown option '--{key}'{nearest(key, known)}")
    values = {key: _value(value, f"robots serve: --{key}") for key, value in settings.items()}
    rate_hz = values.pop("rate")
    is_number = isinstance(rate_hz, int | float) and not isinstance(rate_hz, bool)
    if not is_number or not 0 < rate_hz < math.inf:
        raise UserError(f"robots serve: --rate must be a number above 0, not {rate_hz}")
    config = ServerConfig(**values)
    token = tokens.make_or_read(Path(config.token_file))
    robot = make_robot(name, options, clock=RealClock())
    with load("sim.engine.compiling:announcing")("the safety filter"):
        guard = Guard(robot, 1 / rate_hz, arm=getattr(robot, "arm", None), clock=RealClock())
    server = Server(guard, config, token)
    try:
        with signals.as_interrupts(), server:
            where = f"address={server.address} token_file={config.token_file}"
            print(f"{robot.name} is served: {where}")
            print("Ctrl-C stops it", flush=True)
            server.wait()
    finally:
        if server.address:
            reason = f"; stopped: {guard.reason}" if guard.is_stopped else ""
            print(f"{robot.name}: {server.calls} calls were answered{reason}", flush=True)
    return 0


def _help(rest: Sequence[str]) -> int:
    print(USAGE, end="")
    return 0


def _passed(results: Any) -> bool:
    """Print results as they come; say whether all passed."""
    fine = True
    for result in results:
        print(_line(result), flush=True)
        fine = fine and result.passed
    return fine


def _line(result: Result) -> str:
    mark = "ok  " if result.passed else "FAIL"
    return f"{mark}  {result.check}" + (f": {result.words}" if result.words else "")


def _agreed(name: str, ask: Callable[[str], str] = input) -> bool:
    """Ask for motion; nobody at a terminal has not agreed."""
    if not sys.stdin.isatty():
        print("not moved: nobody is at a terminal to agree; --motion agrees beforehand")
        return False
    print(f"{name} will move every joint a few percent of its range, slowly. Clear its way, and")
    return ask("have its power switch in reach. Type yes to go on: ").strip() == "yes"


def _robot(words: Sequence[str], command: str) -> tuple[str, dict[str, Any]]:
    """Read a robot's name and options off the command line."""
    if not words or "=" in words[0]:
        raise UserError(f"expected: robolearn robots {command} ROBOT [KEY=VALUE ...]")
    options: dict[str, Any] = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"robots {command}: '{word}' must be KEY=VALUE")
        options[key] = _value(value, f"robots {command}: '{word}'")
    return words[0], options


def _value(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"{where}: the value is no YAML") from None


def _expect(rest: Sequence[str], count: int, usage: str) -> None:
    if len(rest) != count:
        raise UserError(f"expected: robolearn robots {usage}")


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "list": _list,
    "find": _find,
    "check": _check,
    "calibrate": _calibrate,
    "serve": _serve,
    "--help": _help,
}
