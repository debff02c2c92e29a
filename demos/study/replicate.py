"""One replicate of the compatibility study: its files, and the jobs that write them."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from demos.data.dataset import Dataset
from demos.operators import make_operator, named_style
from demos.session.record import collect
from demos.study.config import StudyConfig
from demos.study.elicitation import Elicitation
from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.algos.commands import LEAST_STEPS
from robolearn.judging.calibration import calibrate
from robolearn.judging.demonstrations import Demonstration, transitions
from robolearn.judging.files import load_judge, save_judge
from robolearn.judging.harm import HarmJudge
from robolearn.judging.judge import Judge, Verdict
from robolearn.judging.repair import harmless, mended
from robolearn.judging.verdicts import HarmVerdict
from robolearn.loops.checkpoint import read_spec, save
from robolearn.loops.evaluate import evaluate
from robolearn.loops.offline import OfflineConfig, offline, search
from robolearn.running.run import jsonable, make_batch, replace_text
from robolearn.types import Episode, Spec, VectorEnvironment

ENVS = 8  # episodes that a job runs at a time
BASE, HELD_OUT, MATCHED = "base", "base_held_out", "matched"
MOST_MATCHED = 4  # times the demonstrations of an operator, who may be so much slower
HARM = "harm"  # the statistic of the judge of harm
TOO_SHORT = (2.0, 0.0)  # harm, beyond the line, and p-value of what cannot be judged
Scores = dict[str, list[dict[str, tuple[float, float]]]]  # operator -> per demonstration, statistic


def drop_runs(
    everything: list[Demonstration], lengths: Sequence[int], seed: int
) -> list[Demonstration]:
    """Drop runs of these lengths at random: the control that drops as much as the judge did.

    Each run goes from a demonstration of its own, drawn from base and new ones alike, and what is
    longer than that goes on in the next one, as far as there are any. Drawn from the new ones
    alone, it would be the same as filtering wherever that drops everything.
    """
    rng = np.random.default_rng(seed)
    left, wanted = list(everything), [n for n in lengths if n]
    for row in rng.permutation(len(everything)):
        if not wanted:
            break
        states, actions = left[row]
        run = min(wanted[0], len(actions))
        start = int(rng.integers(len(actions) - run + 1))
        gone = slice(start, start + run)
        left[row] = np.delete(states, gone, axis=0), np.delete(actions, gone, axis=0)
        wanted = [wanted[0] - run, *wanted[1:]] if wanted[0] > run else wanted[1:]
    return [(s, a) for s, a in left if len(a)]


def _fingerprint(data: Sequence[Demonstration]) -> str:
    """Give what training data [T, O], [T, A] can be recognised by."""
    digest = hashlib.sha256()
    for array in (array for demonstration in data for array in demonstration):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def judge_together(
    judge: Judge | HarmJudge, demonstrations: Sequence[Demonstration]
) -> Sequence[Verdict | HarmVerdict | None]:
    """Judge an operator's demonstrations: those who can, judge them together.

    None for one that is too short for that, which is not accepted.
    """
    if not isinstance(judge, HarmJudge):
        return [judge.score(*pair) for pair in demonstrations]
    long = [is_long(pair) for pair in demonstrations]
    verdicts = iter(judge.score_all(*_unzipped(itertools.compress(demonstrations, long))))
    return [next(verdicts) if is_judged else None for is_judged in long]


def is_long(demonstration: Demonstration) -> bool:
    """Say whether harm can be judged of a demonstration."""
    return len(demonstration[1]) >= LEAST_STEPS


def _unzipped(demonstrations: Iterable[Demonstration]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    pairs = list(demonstrations)
    return [states for states, _ in pairs], [actions for _, actions in pairs]


def _ignore_result(folder: str, names: list[str]) -> list[str]:
    return ["evaluation.json"]  # it says that all the rest is there, so it comes last


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


@dataclass(frozen=True)
class Replicate:
    """Number ``index`` of the replicates of a study in ``folder``.

    Files: ``replicate_<index>/demonstrations/<name>/`` (datasets), ``judge/``, ``network.json``,
    ``scores.json``, ``conditions/<operator>-<condition>/`` (checkpoint, evaluation).
    """

    config: StudyConfig
    folder: Path
    seed: int
    index: int

    @property
    def datasets(self) -> tuple[str, ...]:
        """Name the datasets that ``demonstrate`` fills."""
        matched = (MATCHED,) if "matched" in self.config.conditions else ()
        tuning = () if self.config.verdict == HARM else self.config.tuning_operators
        return (BASE, HELD_OUT, *matched, *self.config.operators, *tuning)

    def path(self, *parts: str) -> Path:
        """Give the path of one of this replicate's files."""
        return self.folder.joinpath(f"replicate_{self.index}", *parts)

    def seeds(self, purpose: str, count: int = 1) -> list[int]:
        """Draw seeds that belong to this replicate and one purpose."""
        key = [self.seed, self.index, zlib.crc32(purpose.encode())]
        return [int(s) for s in np.random.SeedSequence(key).generate_state(count)]

    def make_envs(self) -> VectorEnvironment:
        """Make a batch of the study's environment, on one thread: jobs share the processors."""
        return make_batch(self.config.env, ENVS, threads=1)

    # -- stage 1 --------------------------------------------------------------------------------

    def demonstrate(self, name: str) -> None:
        """Fill one operator's dataset, or go on filling it."""
        config = self.config
        style, count = self._operator(name)
        envs = self.make_envs()
        dataset = Dataset.ensure(
            self.path("demonstrations", name), envs.interface, config.env.options
        )
        collect(
            lambda: envs,
            lambda rng: make_operator(config.env.name, style, envs.interface, rng),
            dataset,
            operator=name,
            episodes=count,
            seed=self.seeds(f"demonstrate {name}")[0],
            horizon=config.demonstration_horizon,
            settle_steps=config.settle_steps,
        )

    def _operator(self, name: str) -> tuple[str, int]:
        """Give an operator's style and how many demonstrations it owes."""
        config = self.config
        if name == BASE:
            return config.base, config.base_demonstrations
        if name == HELD_OUT:
            return config.base, config.held_out
        if name == MATCHED:
            compatible = next(o for o in config.operators.values() if o.compatible)
            return compatible.style, MOST_MATCHED * config.demonstrations
        return (config.operators | config.tuning_operators)[name].style, config.demonstrations

    def demonstrations(self, name: str) -> list[Demonstration]:
        """Load an operator's successful demonstrations, as many as it owes."""
        episodes = self.episodes(name)
        return [(e.observations["state"][:-1], e.actions) for e in episodes]

    def episodes(self, name: str) -> list[Episode]:
        """Load an operator's successful episodes, as many as it owes."""
        episodes = Dataset.open(self.path("demonstrations", name)).episodes(success=True)
        for i, episode in enumerate(episodes):
            episode.require_finite(f"{name}: demonstration {i}")
        return episodes[: self._operator(name)[1]]

    # -- stage 2 --------------------------------------------------------------------------------

    def choose_network(self) -> None:
        """Choose network and epochs by validation error, if there is a choice."""
        if self.path("network.json").exists():
            return
        network, training = self.config.policies[0], self.config.training
        if len(self.config.policies) > 1:
            base, interface = self.demonstrations(BASE), self._interface()
            seed = self.seeds("network")[0]
            network, training, _ = search(
                lambda candidate: BehaviorCloning(interface, candidate, seed),
                self.config.policies,
                transitions(base),
                training,
                seed,
            )
        chosen = {"network": asdict(network), "epochs": training.epochs}
        replace_text(self.path("network.json"), json.dumps(chosen))

    def _chosen_network(self) -> tuple[BCConfig, OfflineConfig]:
        chosen = json.loads(self.path("network.json").read_text())
        network = BCConfig(**chosen["network"] | {"widths": tuple(chosen["network"]["widths"])})
        return network, replace(self.config.training, epochs=chosen["epochs"])

    def _interface(self) -> Spec:
        return Dataset.open(self.path("demonstrations", BASE)).interface

    def calibrate(self) -> None:
        """Calibrate the judge; score everybody's demonstrations."""
        if self.path("scores.json").exists() and HARM in self.scores()[HELD_OUT][0]:
            return  # those that were scored before there was HARM are scored again
        base = self.demonstrations(BASE)
        network, training = self._chosen_network()
        judge = calibrate(
            [states for states, _ in base],
            [actions for _, actions in base],
            seed=self.seeds("calibrate")[0],
            gripper="gripper",
            interface=self._interface(),
            config=self.config.judge,
            network=network,
            training=training,
        )
        save_judge(self.path("judge"), judge)
        harm = self.judge(HARM)

        def compare(demonstrations: list[Demonstration]) -> list[dict[str, tuple[float, float]]]:
            verdicts = judge_together(harm, demonstrations)
            told = [TOO_SHORT if v is None else (v.harm, v.p_value) for v in verdicts]
            return [
                judge.compare(*one) | {HARM: both}
                for one, both in zip(demonstrations, told, strict=True)
            ]

        names = [name for name in self.datasets if name != BASE]
        scores = {n: compare(self.demonstrations(n)) for n in names}
        replace_text(self.path("scores.json"), json.dumps(jsonable(scores)))

    def scores(self) -> Scores:
        """Read what ``calibrate`` found: per operator and demonstration, all statistics."""
        return json.loads(self.path("scores.json").read_text())

    def judge(self, statistic: str) -> Judge | HarmJudge:
        """Load the judge, with a chosen statistic; HARM is that of harm."""
        if statistic == HARM:
            states, actions = _unzipped(filter(is_long, self.demonstrations(BASE)))
            return HarmJudge.of(
                states, actions, interface=self._interface(), config=self.config.harm
            )
        folder = self.path("judge")
        return load_judge(folder, read_spec(folder / "policy")).using(statistic)

    # -- stage 4 --------------------------------------------------------------------------------

    def condition(self, operator: str, condition: str, statistic: str) -> None:
        """Train a policy on what the condition lets it have, and evaluate it."""
        folder = self.path("conditions", f"{operator}-{condition}")
        if (folder / "evaluation.json").exists():
            return
        envs = self.make_envs()
        data = self._data(operator, condition, statistic, envs)
        fingerprint = _fingerprint(data)
        same = self._condition_with(fingerprint)
        if same is None:
            result = self._train_and_evaluate(folder, data, envs)
        else:
            shutil.copytree(same, folder, dirs_exist_ok=True, ignore=_ignore_result)
            result = _read(same / "evaluation.json") | {"same_data_as": same.name}
        envs.close()
        replace_text(
            folder / "evaluation.json",
            json.dumps(result | {"data": fingerprint}, allow_nan=False),
        )

    def _condition_with(self, fingerprint: str) -> Path | None:
        """Find a finished condition that trained on the same data: seeds are the same as well."""
        finished = sorted(self.path("conditions").glob("*/evaluation.json"))
        return next((f.parent for f in finished if _read(f).get("data") == fingerprint), None)

    def _train_and_evaluate(
        self, folder: Path, data: list[Demonstration], envs: VectorEnvironment
    ) -> dict[str, Any]:
        policy = self._clone(data, envs.interface)
        save(folder / "checkpoint", policy)
        seeds = self.seeds("evaluate", self.config.episodes)
        evaluation = evaluate(envs, policy, seeds, self.config.horizon)
        evaluation.save(folder)
        return evaluation.summary() | {
            "demonstrations": len(data),
            "pairs": sum(len(actions) for _, actions in data),
        }

    def _clone(self, data: list[Demonstration], interface: Spec) -> BehaviorCloning:
        """Train the chosen network on demonstrations; the seed is that of all conditions."""
        network, training = self._chosen_network()
        seed = self.seeds("train")[0]
        policy = BehaviorCloning(interface, network, seed)
        offline(policy, transitions(data), training, seed)
        return policy

    def _data(
        self, operator: str, condition: str, statistic: str, envs: VectorEnvironment
    ) -> list[Demonstration]:
        """Give the demonstrations that a condition trains on."""
        base = self.demonstrations(BASE)
        if condition == "base":
            return base
        if condition == "informed":
            return base + self._elicit(operator, statistic, envs)
        new = self.demonstrations(operator)
        if condition == "naive":
            return base + new
        if condition == "matched":
            return base + self._matched(sum(len(actions) for _, actions in new))
        if condition == "repaired":
            judge = self.judge(HARM)
            judged = [(d, v) for d, v in zip(new, judge_together(judge, new), strict=True) if v]
            kept = [mended(judge, *d, v) for d, v in judged]
            each = zip(judged, kept, strict=True)
            return base + [(s[some.rows], some.actions) for ((s, _), _), some in each if len(some)]
        kept = self._filtered(new, statistic)
        if condition == "filtered":
            return base + [(s, a) for s, a in kept if len(a)]
        dropped = [len(mine) - len(rest) for (_, mine), (_, rest) in zip(new, kept, strict=True)]
        return drop_runs(base + new, dropped, self.seeds(f"drop {operator}")[0])

    def _matched(self, steps: int) -> list[Demonstration]:
        """Give the first of the compatible operator's demonstrations, as many as come nearest.

        Operators for whom that is the same number share a training: their data are the same.
        """
        compatible = self.demonstrations(MATCHED)
        ends = np.cumsum([len(actions) for _, actions in compatible])
        return compatible[: 1 + int(np.abs(ends - steps).argmin())]

    def _filtered(self, new: list[Demonstration], statistic: str) -> list[Demonstration]:
        """Give what is left of each demonstration, which may be nothing."""
        judge = self.judge(statistic)
        if self.config.filter_by == "demonstrations":
            accepted = [v is not None and v.accepted for v in judge_together(judge, new)]
            return [
                (s, a) if ok else (s[:0], a[:0]) for (s, a), ok in zip(new, accepted, strict=True)
            ]
        if isinstance(judge, HarmJudge):
            each = zip(new, judge_together(judge, new), strict=True)
            stays = [harmless(judge, *d, v) if v else slice(0, 0) for d, v in each]
            return [(s[stay], a[stay]) for (s, a), stay in zip(new, stays, strict=True)]
        by_stretch = self.config.filter_by == "stretches"
        filtering = judge.filter_stretches if by_stretch else judge.filter_pairs
        states, actions = filtering([s for s, _ in new], [a for _, a in new])
        return list(zip(states, actions, strict=True))

    def _elicit(
        self, operator: str, statistic: str, envs: VectorEnvironment
    ) -> list[Demonstration]:
        """Let the operator demonstrate anew under the judge's verdicts; keep what is accepted."""
        folder = self.path("demonstrations", f"{operator}_informed")
        shutil.rmtree(folder, ignore_errors=True)  # half of an elicitation, if it was stopped
        config = self.config
        elicitation = Elicitation(
            envs,
            self.judge(statistic),
            Dataset.create(folder, envs.interface, config.env.options),
            task=config.env.name,
            base=named_style(config.base),
            heed=config.heed,
            horizon=config.demonstration_horizon,
            settle_steps=config.settle_steps,
        )
        accepted = elicitation.run(
            operator,
            named_style(config.operators[operator].style),
            wanted=config.demonstrations,
            attempts=config.attempts,
            seed=self.seeds(f"elicit {operator}")[0],
        )
        return [(e.observations["state"][:-1], e.actions) for e in accepted]

    # -- afterwards -----------------------------------------------------------------------------

    def evaluation(self, operator: str, condition: str) -> dict[str, Any]:
        """Read the result of ``condition``."""
        folder = self.path("conditions", f"{operator}-{condition}")
        return _read(folder / "evaluation.json")
