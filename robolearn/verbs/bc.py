"""``verb: bc``: clone the behaviour in a dataset, and evaluate the clone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.algos.chunk_bc import (
    ChunkCloning,
    ChunkCloningConfig,
    ChunkImageCloning,
    ChunkImageCloningConfig,
    Several,
)
from robolearn.algos.hard_bc import HardCloning, HardCloningConfig, HardeningConfig
from robolearn.algos.image_bc import EncoderConfig, ImageCloning, ImageCloningConfig
from robolearn.errors import SpecError, UserError
from robolearn.loops import checkpoint, parts
from robolearn.loops.offline import OfflineConfig, offline
from robolearn.names import load
from robolearn.running.config import EnvConfig
from robolearn.running.launch import maker_of_dataset
from robolearn.running.run import Run, kept_until
from robolearn.settings import Names
from robolearn.types import Spec
from robolearn.verbs.collect import RecordingConfig, record_first
from robolearn.verbs.evaluate import EvaluationConfig, measure


@dataclass(frozen=True)
class CloneConfig:
    """What is cloned, how, and how the clone is evaluated."""

    dataset: str
    """A dataset, ours or others' as it lies (robomimic, robosuite, LeRobot, Minari); the clone is
    evaluated in the environment that it was recorded in."""
    recording: RecordingConfig | None = None
    """How scripted operators record it first, where it lacks demonstrations; None: it is there."""
    obs: Names | None = None
    """What the clone sees: cameras, "state" or entries of it ("robot0_eef_pos"); None: "state" and
    all cameras that there are."""
    operator: str | None = None
    """Only this operator's demonstrations; None for everybody's."""
    success: bool | None = True
    """Only successful (or failed) demonstrations; None for both."""
    mask: str | None = None
    """Only the demonstrations of this mask, such as what a person's session has "kept"."""
    bc: BCConfig = BCConfig()
    """Network and optimiser."""
    encoder: EncoderConfig = EncoderConfig()
    """How a clone that sees cameras does so."""
    chunk: Several | None = None
    """Actions that the clone gives at once, for ``deploy``'s ``chunk``; None: one."""
    harden: HardeningConfig | None = None
    """What makes the clone hard to attack: smoothness, a Lipschitz constant; None: nothing."""
    training: OfflineConfig = OfflineConfig()
    """Length and batches."""
    checkpoint_epochs: pydantic.PositiveInt = 5
    """Epochs between checkpoints from which a stopped run is resumed."""
    evaluation: EvaluationConfig | None = EvaluationConfig()
    """How many episodes, how long, and where they end; None for no evaluation."""


def clone(config: CloneConfig, run: Run) -> dict[str, Any]:
    """Train, with checkpoints on the way, evaluate, and leave the best weights in ``checkpoint/``.

    Summary: ``demonstrations``, ``transitions``, ``best_epoch``, ``validation_loss``, and under
    ``evaluation`` what ``robolearn.verbs.evaluate.measure`` gives.
    """
    if config.recording is not None:
        record_first(config.recording, config.dataset, run)
    if not Path(config.dataset).exists() and (hint := maker_of_dataset(config.dataset)):
        raise UserError(f"dataset: {config.dataset} is not there{hint}")
    dataset = load("demos.formats.foreign:open_dataset")(config.dataset)
    interface = _seen(dataset.interface, config)
    learner = _learner(config, interface, run.seed)
    env = EnvConfig(dataset.interface.environment, dataset.env_options)
    envs = None
    if config.evaluation is not None:  # before the training: what does not fit is said now
        if not env.name:
            raise UserError(
                f"dataset: {config.dataset} does not say which environment it is from: "
                "evaluation=null leaves the evaluation out"
            )
        envs = run.make_envs(env, config.evaluation.episodes)
        shown = parts.shown(envs.interface, interface)
        interface.require(shown, "the policy", "the environment")
    filters = {"operator": config.operator, "success": config.success, "mask": config.mask}
    data = dataset.transitions(**filters, observations=interface.observations)
    take = parts.taker(dataset.interface, interface)
    data = data | {"observations": take(data["observations"])}
    learner, losses = _train(config, run, learner, data)
    summary = {
        "demonstrations": len(dataset.names(**filters)),
        "transitions": len(data["actions"]),
        "best_epoch": int(np.argmin(losses)) + 1,
        "validation_loss": min(losses),
    }
    if config.evaluation is not None:
        policy = parts.sighted(learner, envs.interface, shown)
        summary["evaluation"] = measure(policy, envs, env, config.evaluation, run)
    checkpoint.save(run.path("checkpoint"), learner)  # good for acting, a quarter of the size
    return summary


def _seen(interface: Spec, config: CloneConfig) -> Spec:
    """Give the interface with what the clone sees; UserError for what is not there.

    Vectors beside "state" are parts of it, or were left out of it when it was put together.
    """
    all_of_it = [
        name
        for name, array in interface.observations.items()
        if name == "state" or len(array.shape) > 1
    ]
    try:
        return parts.part_of(interface, all_of_it if config.obs is None else config.obs)
    except SpecError as error:
        raise UserError(f"obs: {config.dataset} has {error}") from None


def _learner(config: CloneConfig, interface: Spec, seed: int) -> BehaviorCloning:
    cameras = [name for name in interface.observations if name != "state"]
    if config.harden is not None:
        return _hard_learner(config, interface, seed, cameras)
    if not cameras:
        if config.chunk is None:
            return BehaviorCloning(interface, config.bc, seed)
        return ChunkCloning(interface, ChunkCloningConfig.of(config.bc, config.chunk), seed)
    seeing = ImageCloningConfig.of(config.bc, config.encoder)
    if config.chunk is None:
        return ImageCloning(interface, seeing, seed)
    return ChunkImageCloning(interface, ChunkImageCloningConfig.of(seeing, config.chunk), seed)


def _hard_learner(
    config: CloneConfig, interface: Spec, seed: int, cameras: Sequence[str]
) -> HardCloning:
    if cameras:
        raise UserError(f"harden: a hardened clone sees no cameras, as {cameras[0]}: obs=[state]")
    if config.chunk is not None:
        raise UserError("harden: a hardened clone gives single actions: leave chunk out")
    return HardCloning(interface, HardCloningConfig.of(config.bc, config.harden), seed)


def _train(
    config: CloneConfig, run: Run, learner: BehaviorCloning, data: Mapping[str, Any]
) -> tuple[BehaviorCloning, list[float]]:
    """Train, or go on training; give the learner and the validation loss after each epoch.

    A KeyboardInterrupt that comes out says from where to go on.
    """
    folder = run.path("checkpoint")
    if checkpoint.exists(folder):  # a resumed run
        restored = checkpoint.load_learner(folder, learner.interface)
        learner, stored = restored.learner, restored.counters.get("validation_losses")
        losses = checkpoint.checked(list[float], stored, folder)
    else:
        losses = []

    kept, first = len(losses), min(config.checkpoint_epochs, config.training.epochs)
    run.go_on(kept, "epoch", logged=kept - 1)
    with run.counter(config.training.epochs, "training") as counter:
        counter.update(len(losses))

        def on_epoch(epoch: int, info: dict[str, float]) -> None:
            nonlocal kept
            counter.update()
            run.log(epoch, **info)
            losses.append(info.get("validation_loss", info["loss"]))
            if counter.n % config.checkpoint_epochs == 0:
                checkpoint.save(folder, learner, {"validation_losses": losses})
                kept = counter.n

        try:
            offline(
                learner, data, config.training, run.seed, first_epoch=len(losses), on_epoch=on_epoch
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(kept_until(kept, first, "epoch")) from None
    checkpoint.save(folder, learner, {"validation_losses": losses})
    return learner, losses
