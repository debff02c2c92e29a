"""Convert a dataset into another format: episode by episode, and whole or not at all.

What is under way lies in ``DST/.partial``, or in ``.NAME.partial`` beside a file: a plan, and a
part for each episode that is done. Run again, a conversion that was stopped takes up its parts.
When all are there they are joined and put in their place; what makes the folder a dataset comes
last.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic

from demos.data.dataset import Dataset
from demos.data.mp4 import is_colour
from demos.formats import guess
from demos.formats.check import Check, check_round_trip, last_of
from demos.formats.contract import Reading, Source, Writer
from demos.formats.faults import first_line
from demos.formats.terms import CHANGED
from robolearn.errors import DataError
from robolearn.files import cannot_write, make_folder, sync, write_atomically
from robolearn.running.counter import Counter
from robolearn.types import Episode

PARTIAL, PLAN, PARTS, WHOLE, SKIPPED = ".partial", "plan.json", "parts", "whole", ".skipped"
IMAGES = {
    guess.OURS: ("frames", "video", "lossless"),
    guess.LEROBOT: ("video", "lossless", "png"),
}
LESS = ("video", "png")  # are not each frame as it is
KEPT = "what is converted is kept: run it again to go on"


@dataclass(frozen=True)
class ConvertConfig(Reading):
    """How a dataset is converted."""

    format: Literal["robolearn", "robomimic", "lerobot", "minari", "mcap"] | None = None
    """What is written; None: robomimic's to NAME.hdf5, ours to a folder."""
    check: bool = False
    """Whether what was written is read back, and held against the source."""
    skip: bool = False
    """Whether episodes that cannot be read are left out, rather than an error."""
    images: Literal["video", "lossless", "frames", "png"] | None = None
    """How cameras are kept: h264 ("video"), h264 without loss, or each frame by itself, in ours as
    "frames", in LeRobot's as "png". None: "frames" in ours, "video" in LeRobot's."""
    fps: pydantic.PositiveFloat | None = None
    """Frames a second of a LeRobot dataset or MCAP files; None: what the source says."""


@dataclass(frozen=True)
class Converted:
    """What came of a conversion."""

    path: Path
    format: str
    source_format: str
    episodes: int
    steps: int
    skipped: dict[str, str]  # name -> why
    notes: tuple[str, ...]
    held: dict[str, str]  # what the format has no place for -> where it went
    check: Check | None

    def lines(self) -> list[str]:
        """Put it in lines to print."""
        said = [f"{self.source_format} to {self.format}: {self.path}"]
        said.append(f"{self.episodes} episodes, {self.steps} steps")
        said += self.notes
        said += [f"left out {name}: {why}" for name, why in self.skipped.items()]
        if self.held:
            said.append(f"no place of its own in {self.format}, so it went elsewhere:")
            said += [f"  {what}: {where}" for what, where in self.held.items()]
        return said + (self.check.lines() if self.check is not None else [])


def convert(source: str | Path, target: str | Path, config: ConvertConfig) -> Converted:
    """Convert ``source`` to ``target``, which must not be there yet, or be an unfinished one.

    Raises DataError, one line, for what cannot be read or written; a dataset that looks whole is
    then not left behind. Ctrl-C leaves what is done.
    """
    target = Path(target)
    opened = guess.open_source(source, config)
    try:
        kind = guess.format_for(target, config.format)
        if kind == guess.MCAP and config.check:
            raise DataError("check=true: MCAP files are written, not read back: leave it out")
        writer = _writer(kind, opened, target, config)
        work = _Work(target, opened, kind, config)
        skipped, steps = _write_parts(work, opened, writer, config)
        names = [name for name in opened.names if name not in skipped]
        if not names:
            work.discard()
            raise DataError(
                f"{source}: no episode of it can be read: {next(iter(skipped.values()))}"
            )
        masks = {m: [n for n in some if n in set(names)] for m, some in opened.masks.items()}
        work.publish(writer, names, {mask: some for mask, some in masks.items() if some})
        if kind == guess.OURS:
            Dataset.open(target)  # its files have other times by now: the index is made anew
        notes, held = opened.notes, dict(writer.held)
        lossy = _lossy(kind, opened, config)
        check = check_round_trip(opened, names, target, lossy) if config.check else None
        return Converted(
            target, kind, opened.format, len(names), steps, skipped, notes, held, check
        )
    finally:
        opened.close()


def _lossy(kind: str, source: Source, config: ConvertConfig) -> list[str]:
    """Name the fields that are kept as lossy video; ours has the last frame in it, too."""
    if kind not in IMAGES or _images(kind, config.images) != "video":
        return []
    seen = source.interface.observations.items()
    cameras = [name for name, array in seen if is_colour(array)]
    return cameras + ([last_of(name) for name in cameras] if kind == guess.OURS else [])


def _writer(kind: str, source: Source, target: Path, config: ConvertConfig) -> Writer:
    options: dict[str, Any] = {}
    if config.images in LESS and kind not in (*IMAGES, guess.MCAP):
        raise DataError(f"images={config.images}: {kind} keeps every frame as it is; leave it out")
    if kind == guess.MCAP:
        options = {"images": config.images, "fps": config.fps}
    elif kind in IMAGES:
        options = {"images": _images(kind, config.images)}
    if kind == guess.LEROBOT:
        options["fps"] = config.fps
    elif kind == guess.MINARI:
        options = {"name": target.name}
    return guess.writer_for(kind, source.interface, source.env_options, **options)


def _images(kind: str, asked: str | None) -> str:
    """Say how a format keeps cameras, of which the first is the usual; DataError if it cannot."""
    if asked is not None and asked not in IMAGES[kind]:
        known = ", ".join(IMAGES[kind])
        raise DataError(f"images={asked}: datasets of {kind} keep them as one of {known}")
    return asked or IMAGES[kind][0]


def _write_parts(
    work: _Work, source: Source, writer: Writer, config: ConvertConfig
) -> tuple[dict[str, str], int]:
    """Write a part for each episode that has none yet; give what was left out, and the steps."""
    skipped, steps = work.skipped() if config.skip else {}, 0
    with Counter(len(source.names), "converting", "episodes") as bar:
        for number, name in enumerate(source.names):
            if name not in skipped and not (done := work.done(number)):
                try:
                    episode = marked(source.load(name), source, name, config)
                except DataError as error:
                    if not config.skip:
                        work.discard_if_empty()
                        raise DataError(f"{error}; skip=true leaves such episodes out") from error
                    work.skip(number, str(error))
                    skipped[name] = str(error)
                else:
                    work.write(writer, number, episode)
                    steps += len(episode)
            elif name not in skipped:
                steps += done
            bar.update()
    return skipped, steps


def marked(episode: Episode, source: Source, name: str, reading: Reading) -> Episode:
    """Note where an episode of others comes from, and who changed it; ours stays as it is."""
    if source.format == guess.OURS:
        return episode
    about = {"format": source.format, "dataset": source.path.name, "name": name}
    if reading.limits is not None or reading.clip:
        about[CHANGED] = "changed as limits= or clip= asked"
    metadata = {"source": about} | episode.metadata
    return dataclasses.replace(episode, metadata=metadata)


class _Work:
    """The folder of a conversion that is under way."""

    def __init__(self, target: Path, source: Source, kind: str, config: ConvertConfig) -> None:
        """Begin it, or take up what an earlier one has left; DataError if that was another."""
        self.target, self.names = target, source.names
        self.is_file = kind == guess.ROBOMIMIC
        beside = target.parent / f".{target.name}{PARTIAL}"
        self.folder = beside if self.is_file else target / PARTIAL
        _require_apart(source.path, target)
        plan = _plan(source, kind, config)
        found = self.folder / PLAN
        if found.is_file():
            if found.read_text() != plan:
                raise DataError(
                    f"{target}: an unfinished conversion of something else, or with other "
                    f"settings, is there: remove {self.folder}, or choose another name"
                )
        if target.exists() and self._is_in_the_way(found.is_file()):
            raise DataError(f"{target} is there already: choose another name")
        self._made = [] if target.parent.exists() else _missing(target.parent)
        make_folder(self.folder / PARTS)
        write_atomically(found, plan.encode())
        for left in (self.folder / PARTS).glob(".*"):
            _remove(left)

    def _is_in_the_way(self, is_under_way: bool) -> bool:
        """Say whether what is there would be written over; an unfinished folder is not."""
        if self.is_file or not self.target.is_dir():
            return True
        return not is_under_way and any(self.target.iterdir())

    def done(self, number: int) -> int:
        """Give the steps of an episode whose part is there, or 0."""
        path = self._steps(number)
        said = path.read_text() if path.is_file() else ""
        return int(said) if said.isdigit() else 0  # empty after a power cut: it is done again

    def skipped(self) -> dict[str, str]:
        """Give the episodes that were left out, and why."""
        found = sorted((self.folder / PARTS).glob(f"*{SKIPPED}"))
        return {self.names[int(path.stem)]: path.read_text() for path in found}

    def skip(self, number: int, why: str) -> None:
        """Note that an episode is left out."""
        write_atomically(self.folder / PARTS / f"{number:06d}{SKIPPED}", why.encode(), False)

    def write(self, writer: Writer, number: int, episode: Episode) -> None:
        """Have a part written under a temporary name, and give it its own."""
        path = self._part(writer, number)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            writer.part(temporary, episode)
            _remove(path)
            os.replace(temporary, path)
            (self.folder / PARTS / f"{number:06d}{SKIPPED}").unlink(missing_ok=True)
            write_atomically(self._steps(number), str(len(episode)).encode(), False)
        except OSError as error:
            raise cannot_write(path, _explained(error)) from error
        finally:
            _remove(temporary)

    def publish(self, writer: Writer, names: list[str], masks: dict[str, list[str]]) -> None:
        """Join the parts, put what comes of them in its place, and remove the folder."""
        whole = self.folder / WHOLE
        numbers = {name: number for number, name in enumerate(self.names)}
        parts = [self._part(writer, numbers[name]) for name in names]
        try:
            _remove(whole)
            whole.mkdir()
            entries = writer.join(parts, whole, names, masks)
            for path in whole.rglob("*"):
                sync(path)
            for entry in entries:
                place = self.target if self.is_file else self.target / entry
                if place.is_dir():  # an earlier one was stopped here
                    _remove(place)
                os.replace(whole / entry, place)
                sync(place.parent)
            shutil.rmtree(self.folder)
        except OSError as error:
            raise cannot_write(self.target, _explained(error)) from error

    def discard(self) -> None:
        """Remove all that the conversion has written."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if not self.is_file and self.target.is_dir() and not any(self.target.iterdir()):
            self.target.rmdir()
        for folder in self._made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def discard_if_empty(self) -> None:
        """Remove it unless a part is done, which may be taken up."""
        if not any(path.suffix != SKIPPED for path in (self.folder / PARTS).iterdir()):
            self.discard()

    def _part(self, writer: Writer, number: int) -> Path:
        return self.folder / PARTS / f"{number:06d}{writer.suffix}"

    def _steps(self, number: int) -> Path:
        return self.folder / PARTS / f"{number:06d}.steps"


def _missing(folder: Path) -> list[Path]:
    """List the folders that will be made for one to be there, the innermost first."""
    return [folder, *([] if folder.parent.exists() else _missing(folder.parent))]


def _require_apart(source: Path, target: Path) -> None:
    here, there = source.resolve(), target.resolve()
    if there == here or there.is_relative_to(here) or here.is_relative_to(there):
        raise DataError(f"{target}: source and target lie in each other: choose another folder")


def _plan(source: Source, kind: str, config: ConvertConfig) -> str:
    """Say what is converted how, so that only the same conversion goes on."""
    settings = dataclasses.asdict(config) | {"check": None, "skip": None}
    what = [kind, source.format, str(source.path.resolve()), list(source.names)]
    digest = hashlib.blake2b(json.dumps(list(_stamps(source.path))).encode(), digest_size=12)
    return json.dumps([what, settings, digest.hexdigest()])


def _stamps(path: Path) -> Iterator[list[Any]]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if file.is_file() and not file.name.startswith("."):
            about = file.stat()
            yield [str(file.relative_to(path)), about.st_size, about.st_mtime_ns]


def _explained(error: OSError) -> OSError:
    """Give an error with the words that ``cannot_write`` repeats; HDF5's have them elsewhere."""
    return error if error.strerror else OSError(error.errno, first_line(error))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
