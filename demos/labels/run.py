"""Who answers questions: the page and the terminal, for a training, and ``verb: label``."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from demos.labels.clips import Clips
from demos.page.config import PageConfig
from robolearn.errors import UserError
from robolearn.rewards.labels import Terminal
from robolearn.rewards.questionnaire import FOLDER, Questionnaire
from robolearn.running.run import Run
from robolearn.settings import Settings

Attend = Callable[[], None]
POLL_S = 0.1
PICTURE = (96, 96)  # pixels of a clip in a terminal, which shows fewer
ENDED = "summary.json"  # of a run
WAITING = "nothing is open; the next questions come by themselves, Ctrl-C ends this"


@dataclass(frozen=True)
class LabelConfig(Settings):
    """Which run's questions are answered, and how."""

    run: str
    """A run with ``preferences.labeller: later``, or another one that asks people; a folder of
    runs: the newest one that does."""
    by: Literal["page", "terminal"] = "page"
    """In the browser, or here."""
    camera: str | None = None
    """The camera that shows what was done; None: the one that the run names."""
    page: PageConfig = PageConfig()
    """Where the page is to be found."""


def label(config: LabelConfig, run: Run) -> dict[str, Any]:
    """Answer what is open, and what comes, until the training has ended or Ctrl-C.

    Summary: ``run``, and how many questions are ``answered`` and ``open``.
    """
    asked = Questionnaire.read(find(Path(config.run)))
    if config.camera is not None:
        asked.about["camera"] = config.camera
    answering = on_page(asked, config.page) if config.by == "page" else in_terminal(asked)
    training = asked.folder.parent
    said = None
    with answering as attend:
        while (count := len(asked.open())) or not (training / ENDED).exists():
            if bool(count) is not said:
                said = bool(count)
                how = f"{count} questions are open" if count else WAITING
                print(f"label: {training}: {how}", file=sys.stderr, flush=True)
            attend()
    return {"run": str(training), "answered": len(asked.answers()), "open": len(asked.open())}


def find(path: Path) -> Path:
    """Find the questions of a run, or of the newest one in a folder; UserError if there are none.

    Directories of runs begin with the time.
    """
    runs = (folder for folder in sorted(path.glob("*"), reverse=True) if folder.is_dir())
    for folder in (path, path / FOLDER, *(run / FOLDER for run in runs)):
        if (folder / "spec.json").exists() and (folder / "about.json").exists():
            return folder
    raise UserError(f"run: {path} has no questions to people; a run with preferences.labeller=page,"
                    " terminal or later asks some")  # fmt: skip


@contextlib.contextmanager
def on_page(asked: Questionnaire, page: PageConfig | Mapping[str, Any]) -> Iterator[Attend]:
    """Serve the page as long as this is entered, and say where; what is given waits a moment."""
    try:
        from demos.labels.page import LabelPage  # aiohttp takes a second to load
    except ImportError:
        raise UserError("page: needs aiohttp: pip install aiohttp") from None
    config = page if isinstance(page, PageConfig) else page_config(page)
    camera = asked.about.get("camera")
    if camera is None:
        raise UserError("camera: which one shows on the page what was done?")
    with (
        Clips(asked, camera, config.image_size) as clips,
        LabelPage(config, asked, clips) as served,
    ):
        print(f"page: {served.address}", file=sys.stderr, flush=True)
        yield lambda: time.sleep(POLL_S)


def page_config(settings: Mapping[str, Any]) -> PageConfig:
    """Make the page's settings of a launch file's; UserError for one that it does not know."""
    try:
        return PageConfig(**settings)
    except TypeError:
        known = ", ".join(PageConfig.__dataclass_fields__)
        raise UserError(f"preferences.page: {dict(settings)} has other keys than {known}") from None


@contextlib.contextmanager
def in_terminal(asked: Questionnaire, page: Mapping[str, Any] | None = None) -> Iterator[Attend]:
    """Ask here; what is given asks the first open question, or waits a moment if there is none."""
    from demos.labels import terminal

    with contextlib.ExitStack() as closing:
        typed, clips, out = sys.stdin.isatty(), None, sys.stderr
        if typed and (camera := asked.about.get("camera")) is not None:
            clips = closing.enter_context(Clips(asked, camera, PICTURE, jpeg=False))

        def answered(number: int) -> None:
            if typed:
                asked.answer(number, terminal.ask(asked, number, clips, out))
                return
            print(terminal.headline(asked, number), file=out)
            person = Terminal(terminal.show_curves(asked.interface, out))
            asked.answer(number, person.answer(asked.question(number)))

        def attend() -> None:
            is_open = asked.open()
            if is_open:
                answered(is_open[0])
            else:
                time.sleep(POLL_S)

        yield attend
