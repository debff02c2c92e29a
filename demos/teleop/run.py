"""``verb: teleop``: a person demonstrates, with a device, into a dataset."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from demos.data.dataset import Dataset
from demos.devices.contracts import Device
from demos.devices.keys import KeyMap
from demos.devices.make import WITH_KEYS, make_device, require_source
from demos.devices.others import Beside, Replay, TakeOver
from demos.devices.steering import Steered
from demos.devices.terminal import TerminalKeyboard
from demos.page.config import PageConfig
from demos.page.feed import Feed
from demos.page.source import PageSource
from demos.session.gain import gain, said
from demos.session.judging import Guide, make_scorer
from demos.session.pictures import Pictured, without_pictures
from demos.session.saving import difference
from demos.session.session import Outcome, Session
from demos.session.told import ToldToEnd
from demos.teleop.config import TeleopConfig
from demos.teleop.console import Console
from demos.teleop.in_rerun import InRerun
from robolearn import signals
from robolearn.errors import DataError, UserError, nearest
from robolearn.loops import checkpoint
from robolearn.running.config import EnvConfig
from robolearn.running.launch import maker_of_dataset, maker_of_run
from robolearn.running.run import Run
from robolearn.types import Environment, Episode

FREE = "free"  # the camera that every model has
PICTURE = (120, 160)  # pixels; a terminal shows fewer


def teleoperate(config: TeleopConfig, run: Run) -> dict[str, Any]:
    """Run a session until its goal is reached or the person leaves.

    Summary: ``dataset``; ``kept`` (of this operator, earlier sessions included), ``attempts`` and
    ``decisions`` of this session, the ``names`` of its demonstrations; ``ticks``, how many of how
    many ``deadlines`` were ``missed``, and ``jitter_p99_ms`` of the control loop; ``replayed`` and
    ``differing``, the demonstrations whose stored actions did not give the same states again;
    ``stopped``, what told it to end and so stopped the robot, if anything did; with ``judge``,
    ``person``: whether this person's way fits, by all of the session's demonstrations that were no
    practice; with ``replay``, how the states compare; with ``gain``, the success of policies
    without and with what was kept.
    """
    stored = None if config.replay is None else _stored(config)
    env_config = config.env or stored[1]
    _require_inputs(config)
    env = run.make_env(env_config)
    _require_cameras(config, env)
    source = _page_source(config, env)
    device = _device(config, env, stored and stored[0], source)
    scorer, load_base = _judge(config, env, run)
    with contextlib.ExitStack() as closing:
        closing.enter_context(signals.as_interrupts())
        pictured = _pictured(config, env_config)
        if pictured is not None:
            closing.callback(pictured.close)
        closing.callback(device.close)
        device.open()
        dataset = _dataset(config, env, env_config, closing)
        checks = dataset is not None and config.replay_check
        session = Session(
            env,
            device,
            dataset,
            _for_replay(config, stored[0]) if stored else config,
            seed=run.seed,
            scorer=scorer,
            load_base=load_base,
            check_env=run.make_env(_without_cameras(env_config)) if checks else None,
        )
        feed = _feed(config, env_config, session)
        closing.callback(feed.close)
        address = _enter_page(closing, config, session, source, feed)
        if run.viewer is not None:
            shown = run.make_env(_without_cameras(env_config))
            closing.enter_context(InRerun(session, run.viewer, shown, feed))
        closing.enter_context(
            Console(session, env.interface, None, pictured, config.picture or "", address)
        )
        told = closing.enter_context(_told(env, session))
        try:
            session.run()
        except UserError as error:
            if not told.words or isinstance(error, DataError):
                raise
    outcome = session.outcome
    _warn(outcome)
    summary = {"dataset": config.dataset, **dataclasses.asdict(outcome), "stopped": told.words}
    if scorer is not None:
        summary |= scorer.summary()
    if config.gain is not None and outcome.kept:
        summary["gain"] = _gain(config, env_config, scorer, dataset, run)
    if stored and session.last is not None:
        summary["replay"] = difference(session.last.states, stored[0].states)
    return summary


def _dataset(
    config: TeleopConfig, env: Environment, made: EnvConfig, closing: contextlib.ExitStack
) -> Dataset | None:
    """Open where demonstrations go, or make it; None if they go nowhere."""
    if config.dataset is None:
        return None
    dataset = Dataset.ensure(config.dataset, env.interface, made.options, config.images)
    closing.callback(dataset.flush)
    return dataset


def _told(env: Environment, session: Session) -> ToldToEnd:
    """Have Ctrl-C and its like stop a robot, save what is in progress, and leave."""

    def stop(reason: str) -> None:
        guard = getattr(env, "guard", None)
        if guard is None:  # a simulator stands still by itself
            raise KeyboardInterrupt
        session.leave()
        guard.emergency_stop(reason)

    return ToldToEnd(stop)


def _stored(config: TeleopConfig) -> tuple[Episode, EnvConfig]:
    """Load the demonstration that is to be replayed, and say where it was recorded."""
    chosen = config.replay
    if not Path(chosen.dataset).exists() and (hint := maker_of_dataset(chosen.dataset)):
        raise UserError(f"replay.dataset: {chosen.dataset} is not there{hint}")
    dataset = Dataset.open(chosen.dataset)
    if not len(dataset):
        raise DataError(f"replay.dataset: {chosen.dataset} has no episodes")
    episode = dataset.load(chosen.episode or dataset.names()[-1])
    return episode, EnvConfig(dataset.interface.environment, dict(dataset.env_options))


def _require_inputs(config: TeleopConfig) -> None:
    """Raise UserError for what is not there, before an environment is made, which may take long."""
    if config.policy is not None:
        _checkpoint(config.policy)
    base = config.judge and config.judge.base
    if base is not None and not Path(base).exists() and (hint := maker_of_dataset(base)):
        raise UserError(f"judge.base: {base} is not there{hint}")
    if config.replay is None:
        require_source(config.device)


def _for_replay(config: TeleopConfig, episode: Episode) -> TeleopConfig:
    """Have a replay last as long as what is replayed, once, and ask nobody."""
    steps = len(episode)
    return dataclasses.replace(
        config, horizon=steps, settle_steps=steps, ask=False, practice=0, learn=0
    )


def _without_cameras(env: EnvConfig) -> EnvConfig:
    return EnvConfig(env.name, without_pictures(env.options))


def _pictured(config: TeleopConfig, env: EnvConfig) -> Pictured | None:
    """Have pictures drawn for a terminal, if they are asked for; a warning where that fails."""
    if config.picture is None or not sys.stderr.isatty():
        return None
    options = _without_cameras(env).options
    try:
        return Pictured(env.name, options, (config.picture,), PICTURE)
    except UserError as error:
        warnings.warn(f"picture: {error}", stacklevel=2)
        return None


def _page_source(config: TeleopConfig, env: Environment) -> PageSource | None:
    """Make the page a source, if it is the device."""
    if config.device.kind != "page" or config.replay is not None:
        return None
    return PageSource(KeyMap.of(config.device.keys), env.interface.period_s)


def _feed(config: TeleopConfig, env: EnvConfig, session: Session) -> Feed:
    """Give what draws the cameras for the page and for Rerun, once somebody looks."""
    page = config.page or PageConfig()
    alone = config.page is None and config.picture is not None
    cameras = (config.picture,) if alone else page.cameras

    def make() -> Pictured:
        options = _without_cameras(env).options
        return Pictured(env.name, options, cameras, page.image_size, jpeg=True)

    return Feed(session.views, cameras, make)


def _enter_page(
    closing: contextlib.ExitStack,
    config: TeleopConfig,
    session: Session,
    source: PageSource | None,
    feed: Feed,
) -> str:
    """Serve the page while a session runs, if there is to be one; say and give its address."""
    if config.page is None and source is None:
        return ""
    try:
        from demos.page.server import Page  # aiohttp takes a second to load
    except ImportError:
        raise UserError("page: needs aiohttp: pip install aiohttp") from None
    served = Page(config.page or PageConfig(), lambda: session.status, feed, source)
    page = closing.enter_context(served)
    print(f"page: {page.address}", file=sys.stderr, flush=True)
    return page.address


def _device(
    config: TeleopConfig, env: Environment, stored: Episode | None, page: PageSource | None
) -> Device:
    """Make what acts: the person's device, a policy with it, or a stored demonstration."""
    if stored is not None:
        return _with_keyboard(Replay(stored), config)
    axes = _camera_axes(config, env)
    device = make_device(config.device, env.interface, axes, {} if page is None else {"page": page})
    if config.policy is not None:
        device = _with_policy(config.policy, device, env)
    return device if config.device.kind in WITH_KEYS else _with_keyboard(device, config)


def _with_keyboard(device: Device, config: TeleopConfig) -> Device:
    """Have the terminal's keys beside a device that has none, if there is a terminal."""
    if not sys.stdin.isatty():
        return device
    keys = KeyMap.of(config.device.keys)
    return Beside(device, TerminalKeyboard(keys), keys.help_beside)


def _with_policy(path: str, person: Device, env: Environment) -> Device:
    if not isinstance(person, Steered):
        raise UserError("policy: this device does not let a policy act; choose another device.kind")
    return TakeOver(checkpoint.load_policy(_checkpoint(path), env.interface, []), person)


def _checkpoint(path: str) -> Path:
    """Find the policy's newest checkpoint; UserError if there is none."""
    folder = checkpoint.newest(Path(path))
    if not checkpoint.exists(folder):
        raise UserError(f"policy: no checkpoint in {path}{maker_of_run(path)}")
    return folder


def _camera_axes(config: TeleopConfig, env: Environment) -> np.ndarray | None:
    """Give the axes [3, 3] of the chosen camera in the world; None if none is chosen."""
    name = config.device.camera
    if config.device.frame != "camera" or name is None:
        return None
    known = _cameras(env)
    if known is None:
        raise UserError(f"device.camera: {env.interface.environment} has no cameras")
    if name not in known:
        raise UserError(f"device.camera: no camera '{name}'{nearest(name, known)}")
    env.reset(seed=0)
    return getattr(env, "unwrapped", env).data.camera(name).xmat.reshape(3, 3).copy()


def _cameras(env: Environment) -> list[str] | None:
    """Name the cameras of a MuJoCo model; None if there is no such model to ask."""
    model = getattr(getattr(env, "unwrapped", env), "model", None)
    if not hasattr(model, "ncam"):
        return None
    return [model.camera(i).name for i in range(model.ncam)]


def _require_cameras(config: TeleopConfig, env: Environment) -> None:
    """Raise UserError for a camera of the page that is not there, before a session begins."""
    known = _cameras(env)
    for name in () if config.page is None or known is None else config.page.cameras:
        if name not in (*known, FREE):
            raise UserError(f"page.cameras: no camera '{name}'{nearest(name, known)}")


def _judge(
    config: TeleopConfig, env: Environment, run: Run
) -> tuple[Guide | None, Callable[[str], Episode] | None]:
    """Make the judge, and what loads the base's demonstrations; None and None without."""
    if config.judge is None:
        return None, None
    base = config.judge.base
    scorer = make_scorer(config.judge, env.interface, run.seed)
    return scorer, Dataset.open(base).load if Path(base).is_dir() else None


def _gain(
    config: TeleopConfig, env: EnvConfig, scorer: Guide, dataset: Dataset, run: Run
) -> dict[str, Any]:
    """Measure what the demonstrations of this operator that are kept are worth, and say it."""
    names = set(dataset.names(operator=config.operator)) & set(dataset.names("kept"))
    kept = [dataset.load(name) for name in sorted(names, key=lambda name: int(name[5:]))]
    envs = run.make_envs(_without_cameras(env), config.gain.episodes)
    with run.counter(2 * config.gain.seeds, "policies trained and evaluated") as counter:
        found = gain(config.gain, scorer.base, kept, envs, run.seed, counter.update)
    print(said(found), file=sys.stderr)
    return found


def _warn(outcome: Outcome) -> None:
    if outcome.differing:
        names = ", ".join(outcome.differing)
        warnings.warn(
            f"{names}: the stored actions do not give the same states again; their metadata say "
            "from where on ('replay')",
            stacklevel=2,
        )
