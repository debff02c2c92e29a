"""World models from images: does Dreamer learn, and what do states hold with videos behind?

    python benchmarks/infopower.py --stage 1 [--tasks cartpole-balance ...] [--seeds 0 1 2]
    python benchmarks/infopower.py --stage 2 --videos FOLDER [--tasks walker-walk ...]
                                   [--methods dreamer ...] [--seeds 0 1 2] [--updates 3000]

Appends a JSON line to ``benchmarks/results/infopower.jsonl`` for each task, method and seed; what
is in there is not measured again, and after ``--minutes`` nothing new begins. One run after the
other, one core; runs are kept in ``runs/benchmarks/infopower``.

Stage 1, clean images: ``launch/dreamer_TASK.yaml``. ``return`` is the mean over 10 whole episodes
without exploring, ``from_states`` what SAC (cart-pole swing-up, ``sac.jsonl``) or PPO reach.

Stage 2, fixed data with videos behind: all methods see the same EPISODES recorded episodes of
HORIZON decisions, of a random policy and of PPO from states after two lengths of training, in the
same order, and learn a world model alone. Judged are other episodes: ``seen`` before videos of the
same part of the material, ``unseen`` before the rest of it. Codes are the likeliest states (h, z)
(``z_``: z alone); a linear probe is fitted on the recorded episodes.

    probe_state_r2        of the true state, each entry in units of its deviation; unseen videos
    probe_background_r2   of the first COMPONENTS principal components of what is behind; seen ones
    similarity            correlation of the distances between codes and between true states
    predicted_state_r2    of the true state 1, 5 and 15 decisions ahead, by the prior alone
"""

import argparse
import json
import os
import time
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import torch
from keep import commit
from many_runs import FOLDER, run_all, summary, training_s
from many_runs import commit as commit_of

from robolearn.algos.dreamer import Dreamer, DreamerConfig
from robolearn.algos.infopower import InfoPower, InfoPowerConfig
from robolearn.loops import checkpoint
from robolearn.loops.moments import Moments
from robolearn.loops.on_policy import on_device
from robolearn.networks.probing import Components, Probe, Scale, similarity
from robolearn.networks.rssm import Belief
from robolearn.types import ArraySpec, Environment, Policy, Spec
from sim import make

KEPT = FOLDER / "infopower"
ROWS = Path(__file__).parent / "results" / "infopower.jsonl"
FROM_STATES = {"cartpole-balance": 999.0, "cartpole-swingup": 790.1}
CAMERAS = {"walker-walk": "side", "cheetah-run": "side", "cartpole-swingup": "fixed",
           "finger-spin": "cam0"}  # fmt: skip
REPEAT = 2  # steps of the task in a decision, stage 2
PPO_STEPS = (20_000, 100_000)  # decisions after which policies that know the state act
EPISODES, JUDGED, HORIZON = 80, 16, 200
BATCH, LENGTH = 16, 16
SMALL = 16  # pixels, height and width of what is kept of a background
COMPONENTS = 10
AHEAD = (1, 5, 15)
COMPARED = 1000  # states whose distances are
NO_INVERSE = {"inverse_weight": 0.0, "bonus_weight": 0.0}
METHODS = {
    "dreamer": (Dreamer, DreamerConfig()),
    "c_dreamer": (InfoPower, InfoPowerConfig(**NO_INVERSE)),
    "infopower": (InfoPower, InfoPowerConfig()),
    "infopower_nce": (InfoPower, InfoPowerConfig(bound="nce")),
    "infopower_leaking": (InfoPower, InfoPowerConfig(leaking=True)),
    "infopower_unconstrained": (InfoPower, InfoPowerConfig(constrained=False)),
    "c_dreamer_nce": (InfoPower, InfoPowerConfig(bound="nce", **NO_INVERSE)),
}
Arrays = dict[str, np.ndarray]


def main() -> None:
    """Measure what is missing."""
    torch.set_num_threads(1)
    arguments = _arguments()
    deadline = time.time() + 60 * arguments.minutes
    stage = {1: clean, 2: fixed_data}[arguments.stage]
    stage(arguments, deadline)


# stage 1


def clean(arguments: argparse.Namespace, deadline: float) -> None:
    """Let Dreamer learn from clean images."""
    for seed in arguments.seeds:
        for task in arguments.tasks or FROM_STATES:
            fixed = {"stage": 1, "task": task, "method": "dreamer", "seed": seed}
            if missing(fixed) and time.time() < deadline:
                line = (f"dreamer_{task.replace('-', '_')}", f"seed={seed}")
                for _, directory in run_all({f"infopower/clean-{task}-{seed}": line}):
                    append(fixed | clean_row(task, directory))


def clean_row(task: str, directory: Path) -> dict:
    """Say what a run came to."""
    found = summary(directory)
    return {
        "decisions": found["steps"],
        "return": round(found["evaluation"]["return"], 1),
        "from_states": FROM_STATES[task],
        "wall_s": training_s(directory),
        "commit": commit_of(directory),
    }


# stage 2


def fixed_data(arguments: argparse.Namespace, deadline: float) -> None:
    """Learn world models from the same recorded episodes, and judge them."""
    for task in arguments.tasks or ["walker-walk"]:
        jobs = [
            {"stage": 2, "task": task, "method": method, "seed": seed, "updates": arguments.updates}
            for seed in arguments.seeds
            for method in arguments.methods
        ]
        todo = [job for job in jobs if missing(job)]
        if todo and time.time() < deadline:
            data = recorded(task, arguments.videos)
            for job in todo:
                if time.time() < deadline:
                    learner, told = learnt(job, data)
                    append(job | judged(learner, data) | told)


def recorded(task: str, videos: str) -> dict[str, Arrays]:
    """Record the episodes of a task, or read them: "train", "seen" and "unseen", arrays [E, ...].

    "images" uint8 [E, T, 64, 64, 3], "state" [E, T, S], "behind" [E, T, P], and "actions"
    [E, T, A] and "rewards" [E, T] that led to each moment.
    """
    folder = KEPT / f"data-{task}"
    if not folder.exists():
        actors = [None, *(_clone_of_states(task, steps) for steps in PPO_STEPS)]
        parts = {"train": ("train", EPISODES), "seen": ("train", JUDGED),
                 "unseen": ("evaluation", JUDGED)}  # fmt: skip
        half = folder.with_name(folder.name + ".half")
        half.mkdir(parents=True, exist_ok=True)
        for number, (name, (part, count)) in enumerate(parts.items()):
            with closing(_environment(task, videos, part)) as env:
                episodes = [
                    episode(env, actors[i % len(actors)], np.random.default_rng([number, i]))
                    for i in range(count)
                ]
            columns = {key: np.stack([e[key] for e in episodes]) for key in episodes[0]}
            np.savez(half / f"{name}.npz", **columns)
        half.rename(folder)
    return {name: dict(np.load(folder / f"{name}.npz")) for name in ("train", "seen", "unseen")}


def _environment(task: str, videos: str | None, part: str = "train") -> Environment:
    behind = {"distractors": {"video": videos, "part": part}} if videos else {}
    looks = {"cameras": [CAMERAS[task]], "image_size": [64, 64]} if videos else {}
    return make(f"dmc/{task}", action_repeat=REPEAT, **looks, **behind)


def _clone_of_states(task: str, steps: int) -> Policy:
    """Train PPO from states for so many decisions, or read what was trained."""
    line = ("ppo_walker", f"env.name=dmc/{task}", f"env.options.action_repeat={REPEAT}",
            f"training.steps={steps}", "training.horizon=500", "evaluation=null")  # fmt: skip
    ((_, directory),) = run_all({f"infopower/ppo-{task}-{steps}": line})
    with closing(_environment(task, None)) as env:
        return checkpoint.load_policy(directory / "checkpoint", env.interface)


def episode(env: Environment, actor: Policy | None, rng: np.random.Generator) -> Arrays:
    """Record an episode of a policy that explores, or of random actions."""
    observation, _ = env.reset(seed=int(rng.integers(2**31)))
    shape, moments = env.interface.action.shape, []
    action, reward = np.zeros(shape, np.float32), 0.0
    for _ in range(HORIZON + 1):
        moments.append(moment(env, observation) | {"actions": action, "rewards": reward})
        if actor is None:
            action = rng.uniform(-1, 1, shape).astype(np.float32)
        else:
            states = {"state": observation["state"][None]}
            action = np.clip(actor.act(states, explore=True)[0], -1, 1)
        observation, reward, *_ = env.step(action)
    return {key: np.stack([m[key] for m in moments]) for key in moments[0]}


def moment(env: Environment, observation: Arrays) -> Arrays:
    """Give what is seen, what is true, and what is behind the robot."""
    (image,) = (array for array in observation.values() if array.ndim == 3)
    behind = cv2.resize(env.unwrapped.behind(), (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    return {"images": image, "state": observation["state"], "behind": behind.ravel()}


def learnt(job: dict, data: dict[str, Arrays]) -> tuple[Dreamer, dict]:
    """Learn a world model from the recorded episodes, or read it; say how that went."""
    kind, config = METHODS[job["method"]]
    name = "-".join(str(job[key]) for key in ("task", "method", "seed", "updates"))
    folder, rows = KEPT / "models" / name, data["train"]
    learner = kind(interface(rows), config, job["seed"])
    if not checkpoint.exists(folder):
        replay, rng = filled(learner.interface, rows), np.random.default_rng(job["seed"])
        begun, infos = time.process_time(), []
        for update in range(1, job["updates"] + 1):
            batch = on_device(replay.sample(BATCH, rng), learner.device)
            infos.append(learner.learn_world(batch)[0])
            if update % 250 == 0 or update == job["updates"]:
                means = {k: round(float(np.mean([i[k] for i in infos])), 3) for k in infos[0]}
                print(update, means, flush=True)
                infos.clear()
        cpu_s = round(time.process_time() - begun, 1)
        told = {"losses": means, "train_cpu_s": cpu_s, "commit": commit()[:12]}
        checkpoint.save(folder, learner, told)
    return learner, checkpoint.go_on(folder, learner)


def interface(rows: Arrays) -> Spec:
    """Say what goes in and out of a world model: images alone."""
    seen = {"eye": ArraySpec(rows["images"].shape[2:], "uint8")}
    return Spec("recorded", seen, ArraySpec(rows["actions"].shape[2:]), period_s=0.05)


def filled(interface: Spec, rows: Arrays) -> Moments:
    """Put the recorded episodes into a replay, one after the other."""
    count, length = rows["rewards"].shape
    replay = Moments(interface, count * length, 1, LENGTH)
    for e in range(count):
        for t in range(length - 1):
            replay.add({
                "observations": {"eye": rows["images"][e, t : t + 1]},
                "next_observations": {"eye": rows["images"][e, t + 1 : t + 2]},
                "actions": rows["actions"][e, t + 1 : t + 2],
                "rewards": rows["rewards"][e, t + 1 : t + 2],
                "terminated": np.zeros(1, bool),
                "ended": np.array([t == length - 2]),
            })  # fmt: skip
    return replay


def judged(learner: Dreamer, data: dict[str, Arrays]) -> dict:
    """Probe what a world model believes in."""
    believed = {name: believe(learner, rows) for name, rows in data.items()}
    train, seen, unseen = data["train"], data["seen"], data["unseen"]
    scale = Scale.of(flat(train["state"]))
    states = {name: scale(flat(rows["state"])) for name, rows in data.items()}
    components = Components.of(flat(train["behind"]), COMPONENTS)
    found = {}
    for start, code in (("", lambda b: b.features), ("z_", lambda b: b.z)):
        codes = {name: flat(code(belief).numpy()) for name, belief in believed.items()}
        probe = Probe.fit(codes["train"], states["train"])
        behind = Probe.fit(codes["train"], components(flat(train["behind"])))
        some = np.random.default_rng(0).permutation(len(codes["unseen"]))[:COMPARED]
        found |= {
            f"{start}probe_state_r2": probe.r2(codes["unseen"], states["unseen"]),
            f"{start}probe_state_r2_seen": probe.r2(codes["seen"], states["seen"]),
            f"{start}probe_background_r2": behind.r2(
                codes["seen"], components(flat(seen["behind"]))
            ),
            f"{start}similarity": similarity(codes["unseen"][some], states["unseen"][some]),
            f"{start}similarity_seen": similarity(codes["seen"][some], states["seen"][some]),
        }
    probe = Probe.fit(flat(believed["train"].features.numpy()), states["train"])
    ahead = predicted(learner, believed["unseen"], unseen, probe, scale)
    return {key: round(value, 3) for key, value in found.items()} | {"predicted_state_r2": ahead}


def predicted(
    learner: Dreamer, believed: Belief, rows: Arrays, probe: Probe, scale: Scale
) -> dict[str, float]:
    """Say how much of the true state is told so many decisions ahead, without looking."""
    begins, most = np.arange(5, HORIZON - max(AHEAD), 5), max(AHEAD)
    begin = Belief(*(part[:, begins].flatten(0, 1) for part in believed))
    actions = np.stack([flat(rows["actions"][:, begins + k]) for k in range(1, most + 1)])
    dreamt = learner.foresee(begin, torch.from_numpy(actions)).features.numpy()
    return {
        str(k): round(probe.r2(dreamt[k - 1], scale(flat(rows["state"][:, begins + k]))), 3)
        for k in AHEAD
    }


def believe(learner: Dreamer, rows: Arrays) -> Belief:
    """Give the likeliest states [E, T, ...], a few episodes at a time."""
    beliefs = []
    for images, actions in zip(*(np.array_split(rows[k], len(rows[k]) // 8) for k in
                                 ("images", "actions")), strict=True):  # fmt: skip
        first = torch.zeros(images.shape[:2], dtype=torch.bool)
        first[:, 0] = True
        batch = {"observations": {"eye": torch.from_numpy(images)}, "is_first": first}
        beliefs.append(learner.believe(batch | {"actions": torch.from_numpy(actions)}))
    return Belief(*(torch.cat(parts) for parts in zip(*beliefs, strict=True)))


def flat(rows: np.ndarray) -> np.ndarray:
    """Give all moments of all episodes, [E, T, D] -> [E T, D]."""
    return rows.reshape(-1, rows.shape[-1])


# rows


def missing(fixed: dict) -> bool:
    """Say whether there is no row with these entries."""
    lines = ROWS.read_text().splitlines() if ROWS.exists() else []
    return not any(fixed.items() <= json.loads(line).items() for line in lines)


def append(row: dict) -> None:
    """Add a row, in one piece, and show it."""
    line = json.dumps(row)
    print(line, flush=True)
    with ROWS.open("ab", buffering=0) as file:
        file.write(line.encode() + b"\n")
        os.fsync(file.fileno())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", type=int, choices=[1, 2], required=True)
    parser.add_argument("--tasks", nargs="+", choices=sorted({*FROM_STATES, *CAMERAS}))
    parser.add_argument("--methods", nargs="+", default=list(METHODS)[:3], choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--videos", help="a folder of videos, stage 2")
    parser.add_argument("--updates", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=100.0)
    arguments = parser.parse_args()
    if arguments.stage == 2 and not arguments.videos:
        parser.error("stage 2: --videos FOLDER is needed")
    return arguments


if __name__ == "__main__":
    main()
