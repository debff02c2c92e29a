"""Options of what moves behind a robot: ``distractors: {video: PATH, window: 40}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robolearn.errors import UserError
from sim.base.options import as_tuple, choose, parse, require_mapping, require_names, whole_number

PARTS = ("train", "evaluation")
FULL = 64  # what ``window`` is counted in


@dataclass(frozen=True)
class DistractorOptions:
    """What is seen in place of the world's planes, walls and sky."""

    video: str
    """A video file; a folder of videos, or of folders with the images of one each; "noise", which
    moves and has the statistics of natural images; "agent:NAME", another environment whose robot
    moves at random."""
    window: int = FULL
    """How much of the image it covers at most, in 64ths of height and width, around the centre."""
    part: str = "train"
    """Which part of the material: "train" or "evaluation". They have no frame in common: the last
    third of the files is for evaluation, of a single one the last third of its frames."""
    steps: int = 50
    """Control steps after which another piece begins."""
    keep: tuple[str, ...] = ()
    """Geoms, or bodies for all of theirs, that stay where they would be replaced: ``[floor]``. As
    in a shell, ``*`` is for any letters. "world" is the body of what is fixed to it."""
    drop: tuple[str, ...] = ()
    """Geoms, or bodies for all of theirs, that are replaced as well."""


def parse_distractors(options: Any, where: str) -> DistractorOptions:
    """Make the options from a mapping, or take them as they are; UserError for a wrong one."""
    where = f"{where}: distractors"
    if not isinstance(options, DistractorOptions):
        require_mapping(where, distractors=options)
        options = _parsed(options, where)
    require_names(where, keep=options.keep, drop=options.drop)
    choose(options.part, PARTS, where, "part")
    whole_number(options.steps, where, "steps")
    if whole_number(options.window, where, "window") > FULL:
        raise UserError(f"{where}: window={options.window} is counted in 64ths; 64 at most")
    return options


def _parsed(options: Mapping[str, Any], where: str) -> DistractorOptions:
    if not isinstance(options.get("video", ""), str) or "video" not in options:
        raise UserError(
            f"{where}: video={options.get('video')!r} must be a path, 'noise' or 'agent:NAME'"
        )
    parsed = parse(DistractorOptions, options, where)
    names = {name: getattr(parsed, name) for name in ("keep", "drop")}
    require_names(where, **names)
    return DistractorOptions(
        parsed.video, parsed.window, parsed.part, parsed.steps, *map(as_tuple, names.values())
    )
