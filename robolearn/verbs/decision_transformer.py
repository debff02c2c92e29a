"""``verb: decision_transformer``: learn from a dataset to reach the return that is asked for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robolearn.algos.decision_transformer import DecisionTransformer, DecisionTransformerConfig
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.loops.evaluate import evaluate, evaluation_seeds
from robolearn.loops.sequences import Sequences, SequencesConfig, learning
from robolearn.names import load
from robolearn.running.config import EnvConfig
from robolearn.running.launch import maker_of_dataset
from robolearn.running.run import Run, kept_until
from robolearn.types import Spec, VectorEnvironment
from robolearn.verbs.evaluate import EvaluationConfig, measure


@dataclass(frozen=True)
class SequenceConfig:
    """What is learnt from, how, and what is asked for in the evaluation."""

    dataset: str
    """A dataset with rewards, ours or others' as it lies; the policy is evaluated in the
    environment that it was recorded in."""
    operator: str | None = None
    """Only this operator's demonstrations; None for everybody's."""
    success: bool | None = None
    """Only successful (or failed) demonstrations; None for both."""
    mask: str | None = None
    """Only the demonstrations of this mask."""
    decision_transformer: DecisionTransformerConfig = DecisionTransformerConfig()
    """Network and objective, and the return that is asked for."""
    training: SequencesConfig = SequencesConfig()
    """Length and batches."""
    evaluation: EvaluationConfig | None = EvaluationConfig(episodes=10)
    """How many episodes, how long, and where they end; None for no evaluation."""
    asked: tuple[float, ...] = ()
    """Other returns to ask for in the same episodes, as shares of the largest in the data."""


@dataclass(frozen=True)
class Progress:
    """How far the updates have come; kept with a checkpoint."""

    updates: int


def learn(config: SequenceConfig, run: Run) -> dict[str, Any]:
    """Train, with checkpoints on the way, evaluate, and leave ``checkpoint/``.

    Summary: ``demonstrations``, ``transitions``; ``returns``, the least, mean and largest in the
    data; under ``evaluation`` what ``robolearn.verbs.evaluate.measure`` gives; under ``asked`` for
    each of these shares the return that was asked for, its ``target``, and what came of it.
    """
    if not Path(config.dataset).exists() and (hint := maker_of_dataset(config.dataset)):
        raise UserError(f"dataset: {config.dataset} is not there{hint}")
    dataset = load("demos.formats.foreign:open_dataset")(config.dataset)
    env, envs = EnvConfig(dataset.interface.environment, dataset.env_options), None
    learner = DecisionTransformer(_seen(dataset.interface), config.decision_transformer, run.seed)
    if config.evaluation is not None:  # before the training: what does not fit is said now
        envs = run.make_envs(env, config.evaluation.episodes)
        learner.interface.require(envs.interface, "the policy", "the environment")
    filters = {"operator": config.operator, "success": config.success, "mask": config.mask}
    data = dataset.transitions(**filters)
    sequences = Sequences(data, learner.interface, config.decision_transformer.context)
    _train(learner, sequences, config.training, run)
    earned = sequences.returns[sequences.starts]
    summary = {
        "demonstrations": len(earned),
        "transitions": len(data["actions"]),
        "returns": [float(found) for found in (earned.min(), earned.mean(), earned.max())],
    }
    if envs is not None:
        summary["evaluation"] = measure(learner, envs, env, config.evaluation, run)
        summary["asked"] = [_asked(learner, share, envs, config, run) for share in config.asked]
    checkpoint.save(run.path("checkpoint"), learner)
    return summary


def _seen(interface: Spec) -> Spec:
    """Leave out vectors beside "state", which are parts of it."""
    kept = {
        name: array
        for name, array in interface.observations.items()
        if name == "state" or len(array.shape) > 1
    }
    return dataclasses.replace(interface, observations=kept)


def _train(
    learner: DecisionTransformer, sequences: Sequences, config: SequencesConfig, run: Run
) -> None:
    """Train, or go on training. A KeyboardInterrupt that comes out says from where to go on."""
    folder, done = run.path("checkpoint"), 0
    if checkpoint.exists(folder):  # a resumed run
        counters = checkpoint.go_on(folder, learner)
        done = checkpoint.checked(Progress, counters, folder).updates
    run.go_on(done, "update")
    with run.counter(config.updates, "training", "updates", done) as counter:

        def on_period(updates: int, info: dict[str, float]) -> None:
            nonlocal done
            counter.update(updates - done)
            run.log(updates, **info)
            checkpoint.save(folder, learner, dataclasses.asdict(Progress(updates)))
            done = updates

        try:
            learning(learner, sequences, config, run.seed, begun=done, on_period=on_period)
        except KeyboardInterrupt:
            first = min(config.period, config.updates)
            raise KeyboardInterrupt(kept_until(done, first, "update")) from None


def _asked(
    learner: DecisionTransformer,
    share: float,
    envs: VectorEnvironment,
    config: SequenceConfig,
    run: Run,
) -> dict[str, Any]:
    """Ask for a share of the largest return in the same episodes."""
    target, asked = share * learner.network.best.item(), learner.asked
    learner.ask(target)
    evaluation = evaluate(
        envs, learner, evaluation_seeds(run.seed, config.evaluation.episodes),
        config.evaluation.horizon, whole=config.evaluation.whole,
    )  # fmt: skip
    learner.asked = asked
    return {"share": share, "target": target, **evaluation.summary()}
