"""The verb attack, end to end on dm_control, through the command line."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml

from robolearn.__main__ import main
from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.algos.gaussians import GaussianExpert
from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.algos.sac import SAC, SACConfig
from robolearn.algos.slim import SLIM, SLIMConfig
from robolearn.loops import checkpoint
from robolearn.loops.parts import sighted
from robolearn.rewards.preference import PreferenceReward
from robolearn.skills.env import with_skill
from robolearn.verbs.restoring import value_of
from sim.registry import make

from ..algos import screens

ENV = "{name: dmc/cartpole-balance, options: {horizon: 20}}"
SMALL = (
    f"env={ENV}", "evaluation={episodes: 3, horizon: 20}", "measured=2", "environments=2",
    "rat.widths=[8]", "collection={rounds: 2, episodes: 1, updates: 3, batch: 16}",
    "pgd={steps: 2, step: 0.5}", "ppo.widths=[8]", "training={steps: 80, horizon: 20}",
)  # fmt: skip
LAUNCH = {
    "verb": "attack",
    "env": {"name": "dmc/cartpole-balance"},
    "victim": {"checkpoint": "victims/ppo"},
}
PUSH = """
import numpy as np

class Push:
    memoryless = True

    def __init__(self, interface, rng):
        self.entries = interface.action.shape[0]

    def reset(self, n):
        pass

    def act(self, observation, explore=False):
        return np.full((len(observation["state"]), self.entries), 0.9, np.float32)

def nobody(interface, rng):
    return None

def forgetful(interface, rng):
    policy = Push(interface, rng)
    policy.memoryless = False
    return policy
"""


@pytest.fixture(scope="module")
def victims(tmp_path_factory) -> Path:
    """A folder with untrained victims of all kinds, a launch file, and an intention."""
    folder = tmp_path_factory.mktemp("attack")
    interface = make("dmc/cartpole-balance").interface
    made = {
        "ppo": PPO(interface, PPOConfig(widths=(8,))),
        "other": PPO(interface, PPOConfig(widths=(8,)), seed=1),
        "sac": SAC(interface, SACConfig(widths=(8,))),
        "bc": BehaviorCloning(interface, BCConfig(members=1, widths=(8,))),
    }
    skilled = SLIMConfig(widths=(8,), skill={"entries": ["position"], "widths": (8,), "skills": 2})
    made["slim"] = SLIM(with_skill(interface, 2), skilled)
    for name, learner in made.items():
        checkpoint.save(folder / "victims" / name / "checkpoint", learner)
    (folder / "attack.yaml").write_text(yaml.safe_dump(LAUNCH))
    (folder / "push.py").write_text(PUSH)
    return folder


@pytest.fixture
def here(victims, monkeypatch) -> Path:
    monkeypatch.chdir(victims)
    return victims


def run(*changes: str) -> int:
    return main(["attack.yaml", *SMALL, *changes])


def error_of(capsys, *changes: str) -> str:
    """Give the one line that a wrong launch file ends with."""
    assert run("out=wrong", *changes) == 2
    error = capsys.readouterr().err
    assert error.startswith("robolearn: ") and error.count("\n") == 1
    assert not Path("wrong").exists()
    return error


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("method", ["random", "pgd", "rat", "sa_rl", "pa_ad"])
def test_every_method_leaves_its_results(here, tmp_path, method):
    out = tmp_path / "run"
    assert run(f"method={method}", "intention={policy: victims/other}", f"out={out}") == 0
    found = json.loads((out / "summary.json").read_text())
    assert found["touched"] == 5
    assert list(found) == ["touched", "attacked", "control", "intention"]
    assert all(found[name]["episodes"] == 3 for name in list(found)[1:])
    assert (out / "report.png").stat().st_size > 1000
    assert "attacked" in (out / "report.txt").read_text()
    assert (out / "checkpoint").exists() == (method in ("rat", "sa_rl", "pa_ad"))
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert bool(lines) == (method in ("rat", "sa_rl", "pa_ad"))
    assert len((out / "evaluation/attacked/episodes.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("victim", ["sac", "bc"])
def test_other_victims_are_attacked_towards_a_policy_of_ones_own(here, tmp_path, victim):
    changes = (f"victim={{checkpoint: victims/{victim}}}", "intention={policy: push:Push}")
    home = "home={name: dmc/cartpole-balance}"
    assert run("method=rat", home, *changes, f"out={tmp_path}/run") == 0
    found = json.loads((tmp_path / "run/summary.json").read_text())
    assert list(found) == ["touched", "attacked", "control", "clean", "intention"]
    weights = checkpoint.read_tensors(tmp_path / "run/checkpoint/weights.safetensors")
    assert (weights["budget/radius"] > 0).sum() == 5
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_critics_weigh_the_states_for_a_victim_of_another_kind_too(here, tmp_path):
    """The victim's actions go through no tanh, those of the intention do."""

    def weighting(intention: str) -> list[torch.Tensor]:
        out = tmp_path / intention[:4]
        given = (f"intention={{policy: {intention}}}", "rat.least_movable=0", "rat.inner_rate=1")
        assert run(*given, f"out={out}") == 0
        weights = checkpoint.read_tensors(out / "checkpoint/weights.safetensors")
        return [tensor for name, tensor in weights.items() if "weighting.layers" in name]

    pairs = zip(weighting("victims/sac"), weighting("push:Push"), strict=True)
    assert not all(torch.equal(*pair) for pair in pairs)  # without critics they stay as they began


def test_a_skill_is_attacked_towards_another(here, tmp_path, capsys):
    skill = "{checkpoint: victims/slim, skill: [3, 4]}"
    other = "{policy: victims/slim, skill: [-3, -4]}"
    assert run(f"victim={skill}", f"intention={other}", f"out={tmp_path}/run") == 0
    found = json.loads((tmp_path / "run/summary.json").read_text())
    assert list(found) == ["touched", "attacked", "control", "intention"] and found["touched"] == 5
    capsys.readouterr()
    for victim, said in {
        "{checkpoint: victims/slim}": "victim: victims/slim/checkpoint has skills: skill should",
        "{checkpoint: victims/slim, skill: [1]}": "by 2 numbers, not 1",
        "{checkpoint: victims/slim, skill: [0, 0]}": "victim: skill: no skill is nearest to zero",
        "{checkpoint: victims/ppo, skill: [1, 0]}": "victim: skill: victims/ppo/checkpoint has no",
    }.items():
        assert said in error_of(capsys, f"victim={victim}", f"intention={other}")
    assert "intention: skill: no checkpoint in push:Push" in error_of(
        capsys, f"victim={skill}", "intention={policy: push:Push, skill: [1, 0]}"
    )


def test_an_attack_is_the_same_again(here, tmp_path):
    for name in ("one", "two"):
        assert run("intention={policy: push:Push}", f"out={tmp_path}/{name}") == 0
    one, two = (json.loads((tmp_path / n / "summary.json").read_text()) for n in ("one", "two"))
    assert one == two


def require_same(one: Path, other: Path) -> None:
    """Compare results and weights to the last bit."""
    files = [f.relative_to(one) for f in one.rglob("*") if f.suffix in (".safetensors", ".txt")]
    assert files
    for file in [*files, "summary.json"]:
        assert (one / file).read_bytes() == (other / file).read_bytes(), file


WOBBLE = """
import numpy as np
from push import Push

class Wobble(Push):
    def __init__(self, interface, rng):
        super().__init__(interface, rng)
        self.rng = rng

    def act(self, observation, explore=False):
        return super().act(observation) * self.rng.uniform(0.1, 1, (1, 1)).astype(np.float32)
"""


@pytest.mark.parametrize(("method", "logged"), [("rat", 2), ("pa_ad", 2)])
def test_an_attack_that_was_stopped_goes_on_as_if_it_had_not(
    here, tmp_path, interrupted, logged_steps, method, logged
):
    """The intention draws: what it has drawn is a part of where the attack stands."""
    Path("wobble.py").write_text(WOBBLE)
    line = ["attack.yaml", *SMALL, "collection.rounds=3", "training.checkpoint_updates=1"]
    line += ["intention={policy: wobble:Wobble}", f"method={method}"]
    assert main([*line, f"out={tmp_path}/whole"]) == 0
    interrupted([*line, f"out={tmp_path}/stopped"], logged)
    assert not (tmp_path / "stopped/summary.json").exists()
    assert main([*line, f"resume={tmp_path}/stopped"]) == 0
    require_same(tmp_path / "whole", tmp_path / "stopped")
    assert logged_steps(tmp_path / "whole") == logged_steps(tmp_path / "stopped")


def test_what_rat_has_collected_is_looked_at_before_it_goes_on(here, tmp_path, interrupted, capsys):
    stopped = tmp_path / "stopped"
    line = ["attack.yaml", *SMALL, "collection.rounds=3", "intention={policy: push:Push}"]
    interrupted([*line, f"out={stopped}"], 2)
    file = stopped / "checkpoint/training/state.safetensors"
    tensors = checkpoint.read_tensors(file)
    tensors["states"] = tensors.pop("observations/state")
    checkpoint.write_tensors(file, tensors)
    assert main([*line, f"resume={stopped}"]) == 2
    assert "it has not collected state: written by an older version?" in capsys.readouterr().err


def test_sa_rl_may_earn_other_rewards_than_the_environments(here, tmp_path, capsys):
    reward = "reward={task: -1.0}"
    assert run("method=sa_rl", reward, f"out={tmp_path}/run") == 0
    found = json.loads((tmp_path / "run/summary.json").read_text())["attacked"]
    assert found["wanted"] == pytest.approx(-found["return"], rel=1e-5)
    assert "wanted" in (tmp_path / "run/report.txt").read_text()
    assert run("method=sa_rl", "reward={tsk: -1.0}", f"out={tmp_path}/wrong") == 2
    assert "reward: no reward term 'tsk'; did you mean 'task'?" in capsys.readouterr().err


ASKED = (
    "preferences={every: 40, questions: 4, labels: 10, "
    "reward: {widths: [8], length: 2, epochs: 2, members: 2}}",
    "training={steps: 240, horizon: 20, checkpoint_updates: 1}", "hold=5",
    "intending={cloning: 5, updates: 2, batch: 16, value_widths: [8], latest: 0.5}",
)  # fmt: skip


REPLAYED = (
    "replay={steps: 240, random_steps: 40, updates_per_step: 1.0, batch: 8, log_steps: 40, "
    "checkpoint_steps: 80, keep_replay: true}",
    "sac={widths: [8]}", "intending.learner=sac", "intending.every=7",
)  # fmt: skip


@pytest.mark.parametrize("method", ["rat", "pgd", "sa_rl", "pa_ad"])
def test_what_is_wanted_may_be_learnt_from_answers(here, tmp_path, monkeypatch, method):
    out, holds = tmp_path / "run", []

    class Watched(PreferenceReward):
        def __init__(self, *arguments, hold=1):
            super().__init__(*arguments, hold=hold)
            holds.append(hold)

    monkeypatch.setattr("robolearn.verbs.preferences.PreferenceReward", Watched)
    assert run(*ASKED, f"method={method}", f"out={out}") == 0
    assert holds == [5]
    found = json.loads((out / "summary.json").read_text())
    assert found["labels"] == 10 and sum(found["answers"].values()) == 10
    towards = method in ("rat", "pgd")
    assert ("intention" in found) == towards == (out / "intention").exists()
    if towards:
        assert found["begun"] > 0 and found["intention"]["episodes"] == 3
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    steps = [line["step"] for line in lines if "labels" in line]
    assert steps == [40 * i for i in range(1, 7)]  # control steps, of two environments


def test_sac_may_learn_what_is_wanted(here, tmp_path):
    out = tmp_path / "run"
    assert run(*ASKED, *REPLAYED, "preferences.explore=40", f"out={out}") == 0
    found = json.loads((out / "summary.json").read_text())
    assert found["labels"] == 10 and found["begun"] > 0
    assert found["intention"]["episodes"] == 3
    lines = list(map(json.loads, (out / "metrics.jsonl").read_text().splitlines()))
    asked = [line for line in lines if "labels" in line]
    assert [line["step"] for line in asked] == [40 * i for i in range(1, 7)]  # control steps
    assert [line["labels"] for line in asked[:4]] == [0, 4, 8, 10]
    assert any("adversary/divergence" in line for line in asked)


@pytest.mark.parametrize("replayed, count, last", [((), "updates", 3), (REPLAYED, "rounds", 16)])
def test_an_intention_that_was_stopped_goes_on(here, tmp_path, monkeypatch, replayed, count, last):
    assert run(*ASKED, *replayed, f"out={tmp_path}/whole") == 0

    folder, save = tmp_path / "stopped", checkpoint.save

    def save_and_stop(path, learner, counters=None, replay=None):
        save(path, learner, counters, replay)
        if path.name == "intention" and counters[count] == last:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", save_and_stop)
    assert run(*ASKED, *replayed, f"out={folder}") != 0
    monkeypatch.setattr(checkpoint, "save", save)
    assert run(*ASKED, *replayed, f"resume={folder}") == 0
    names = ("whole", "stopped")
    one, two = (json.loads((tmp_path / n / "summary.json").read_text()) for n in names)
    assert one.pop("begun") >= two.pop("begun")  # after a stop only what came later is counted
    assert one == two


def test_answers_that_do_not_fit_are_one_line(here, capsys):
    assert "intention: beside preferences" in error_of(
        capsys, *ASKED, "intention={policy: victims/other}"
    )
    assert "reward: beside preferences" in error_of(
        capsys, *ASKED, "method=sa_rl", "reward={task: 1.0}"
    )
    assert "preferences.explore: only on a replay" in error_of(
        capsys, *ASKED, "preferences.explore=10"
    )
    assert "preferences: random learns nothing" in error_of(capsys, *ASKED, "method=random")
    assert "intending: nothing to learn an intention from" in error_of(
        capsys, "intention={policy: victims/other}", "intending.every=7"
    )
    assert "segments of 9 decisions do not fit into rollouts of 4" in error_of(
        capsys, *ASKED, "preferences.reward.length=9"
    )
    assert "hold: 3 does not divide a horizon of 20" in error_of(
        capsys, *ASKED, "hold=3", "training.horizon=21"
    )


def test_what_cannot_be_attacked_is_one_line(here, capsys):
    intention = "intention={policy: victims/other}"
    assert "victim: no checkpoint in nowhere" in error_of(
        capsys, intention, "victim={checkpoint: nowhere}"
    )
    assert "the environment does not fit the policy in victims/ppo" in error_of(
        capsys, intention, "env={name: dmc/reacher-easy}"
    )
    assert "the victim" in error_of(capsys, intention, "home={name: dmc/reacher-easy}")
    assert "method: rat needs an intention" in error_of(capsys, "method=rat")
    assert "budget.size should be greater than 0" in error_of(capsys, intention, "budget.size=0")
    assert "budget.size" in error_of(capsys, intention, "budget.size=.nan")
    assert "budget.entries: no entry 'hand'" in error_of(capsys, intention, "budget.entries=[hand]")
    assert "method should be 'rat', 'pgd'" in error_of(capsys, "method=paad")
    assert "intention: no checkpoint in exprt" in error_of(capsys, "intention={policy: exprt}")
    assert "push:nobody must make a policy of (interface, rng)" in error_of(
        capsys, "intention={policy: push:nobody}"
    )
    assert "json:dumps must make a policy of (interface, rng)" in error_of(
        capsys, "intention={policy: 'json:dumps'}"
    )
    assert "push:forgetful is not memoryless, rat asks it about single states" in error_of(
        capsys, "intention={policy: push:forgetful}"
    )
    assert "no reward term 'tsk'; did you mean 'task'?" in error_of(
        capsys, intention, "reward={tsk: -1.0}"
    )


# audits

AUDIT = (
    "audit", "checkpoint=victims/ppo", "environment=dmc/cartpole-balance", "options={horizon: 20}",
    "home=dmc/cartpole-balance", "intention=victims/other", "methods=null", "sizes=[0.1, 0.5]",
    *(part for part in SMALL if not part.startswith(("env=", "measured", "rat", "pgd"))),
)  # fmt: skip


@pytest.mark.usefixtures("drawn")
def test_an_audit_attacks_by_every_method_and_budget(here, tmp_path):
    out = tmp_path / "audit"
    assert main([*AUDIT, f"out={out}"]) == 0
    found = json.loads((out / "summary.json").read_text())
    assert list(found) == ["control", "clean", "intention", "rows"]
    methods = ["random", "pgd", "rat", "sa_rl", "pa_ad"]
    assert [(row["method"], row["size"]) for row in found["rows"]] == [
        (method, size) for size in (0.1, 0.5) for method in methods
    ]
    for row in found["rows"]:
        low, high = row["interval"]
        assert low <= row["success"] <= high and {"learnt", "learnt_interval"} <= row.keys()
    lines = (out / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == found["rows"]
    assert len((out / "report.txt").read_text().splitlines()) == 1 + 3 + 10
    assert (out / "report.png").stat().st_size > 1000
    weights = [(out / f"sa_rl-{s}/checkpoint/weights.safetensors").read_bytes() for s in (0.1, 0.5)]
    assert weights[0] != weights[1]  # each was trained by itself


def test_an_audit_of_a_skill(here, tmp_path, capsys):
    line = [*AUDIT, "checkpoint=victims/slim", "skill=[1, 0]", "sizes=[0.5]", "home=null"]
    line += ["intention=victims/slim", "intention_skill=[-1, 0]", f"out={tmp_path}/audit"]
    assert main([*line, "methods=[pgd, sa_rl]"]) == 0
    found = json.loads((tmp_path / "audit/summary.json").read_text())
    assert [row["method"] for row in found["rows"]] == ["pgd", "sa_rl"]
    capsys.readouterr()
    assert main([*line, "methods=[random]", "intention=null", f"out={tmp_path}/wrong"]) == 2
    assert "intention_skill: whose?" in capsys.readouterr().err


def test_an_audit_that_was_stopped_keeps_what_is_finished(here, tmp_path, interrupted, capsys):
    line = [*AUDIT, "methods=[random, rat]", "collection.rounds=3"]
    assert main([*line, f"out={tmp_path}/whole"]) == 0
    interrupted([*line, f"out={tmp_path}/stopped"], 5)  # in the second round of the fourth attack
    assert "kept 3 of 4 attacks" in capsys.readouterr().err
    first = tmp_path / "stopped/rat-0.1/checkpoint/weights.safetensors"
    written = first.stat().st_mtime_ns
    assert main([*line, f"resume={tmp_path}/stopped"]) == 0
    assert first.stat().st_mtime_ns == written
    require_same(tmp_path / "whole", tmp_path / "stopped")
    (tmp_path / "stopped/summary.json").unlink()
    for name, content in (("rows.jsonl", "{"), ("rows.jsonl", "3"), ("controls.json", "")):
        file = tmp_path / "stopped" / name
        kept = file.read_text()
        file.write_text(content)
        assert main([*line, f"resume={tmp_path}/stopped"]) == 2
        assert f"{name}: damaged" in capsys.readouterr().err
        file.write_text(kept)


def test_an_audit_without_an_intention_does_what_needs_none(here, tmp_path, capsys):
    out = tmp_path / "audit"
    assert main([*AUDIT, "intention=null", "home=null", "sizes=[0.1]", f"out={out}"]) == 0
    found = json.loads((out / "summary.json").read_text())
    assert list(found) == ["control", "rows"]
    assert [row["method"] for row in found["rows"]] == ["random", "sa_rl", "pa_ad"]
    assert "learnt" not in found["rows"][0]
    assert main([*AUDIT, "intention=null", "methods=[rat]", f"out={tmp_path}/wrong"]) == 2
    assert "methods: rat needs an intention" in capsys.readouterr().err
    for change, said in {
        "sizes=[0.0]": "should be greater than 0",
        "reward={tsk: 1.0}": "no reward term 'tsk'",
        "images={}": "sizes: size should be greater than or equal to 1, not 0.1",
    }.items():
        line = [*AUDIT, "intention=null", "methods=[random]", change, f"out={tmp_path}/wrong"]
        assert main(line) == 2
        assert said in capsys.readouterr().err


def test_a_victim_without_a_distribution_is_one_line(installed_lab, capsys):
    from my_lab.method import Spring, SpringConfig

    bead = make("my_lab.envs:make_bead")
    checkpoint.save("spring", Spring(bead.interface, SpringConfig()))
    Path("attack.yaml").write_text(
        yaml.safe_dump(
            LAUNCH | {"env": {"name": "my_lab.envs:make_bead"}, "victim": {"checkpoint": "spring"}}
        )
    )
    assert main(["attack.yaml", "method=pa_ad", "out=wrong"]) == 2
    error = capsys.readouterr().err
    assert "victim 'spring': has no distribution()" in error and error.count("\n") == 1
    audit = [
        "audit", "checkpoint=spring", "environment=my_lab.envs:make_bead", "intention=null",
        "home=null", "options={}", "sizes=[0.1]", "evaluation={episodes: 2, horizon: 4}",
    ]  # fmt: skip
    assert main([*audit, "methods=[pa_ad]", "out=wrong"]) == 2
    assert "victim 'spring': has no distribution()" in capsys.readouterr().err
    train = ["training={steps: 16, horizon: 4}", "environments=2", "ppo={widths: [4]}"]
    assert main([*audit, *train, "methods=null", "out=audit"]) == 0
    assert "no pa_ad: victim 'spring': has no distribution()" in capsys.readouterr().err
    rows = json.loads(Path("audit/summary.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["random", "sa_rl"]


# images


@pytest.fixture
def looking(tmp_path, monkeypatch) -> list[str]:
    """Keep a policy that sees images, and no state; give its environment, and an intention."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(checkpoint.LEARNERS, "looker", f"{screens.__name__}:Looker")
    checkpoint.save("looker", screens.Looker(screens.FRONT))
    return [f"{screens.__name__}:make_screen", f"{screens.__name__}:make_right"]


SHORT = (
    "evaluation={episodes: 1, horizon: 6, whole: true}", "environments=2", "ppo.widths=[8]",
    "training={steps: 24, horizon: 6, checkpoint_updates: 1}",
    "collection={rounds: 2, episodes: 1, updates: 3, batch: 4}",
)  # fmt: skip


def on_images(looking) -> list[str]:
    env, intention = looking
    return [
        "rat_metaworld", "home=null", "victim.checkpoint=looker", "env.name=" + env,
        f"intention={{policy: '{intention}'}}", "images={size: 40}", "rat.widths=[8]", *SHORT,
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["pgd", "rat", "sa_rl", "pa_ad"])
def test_images_are_attacked(looking, method):
    assert main([*on_images(looking), f"method={method}", "out=run"]) == 0
    found = json.loads(Path("run/summary.json").read_text())
    assert found["touched"] == 8 * 8 * 3
    if method == "pgd":
        assert found["attacked"]["return"] > found["control"]["return"]
    else:
        assert checkpoint.read_tensors(Path("run/checkpoint/weights.safetensors"))


def test_images_that_cannot_be_attacked_are_one_line(looking, capsys):
    for change, said in {
        "images=null": "images: the victim sees front; say how far: images={size: 8}",
        "images.size=0": "images.size should be greater than or equal to 1",
        "images.cameras=[side]": "images.cameras: no camera 'side'",
    }.items():
        assert main([*on_images(looking), change, "out=wrong"]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error


def test_an_attack_on_images_that_was_stopped_goes_on(looking, interrupted):
    line = [*on_images(looking), "collection.rounds=3"]
    assert main([*line, "out=whole"]) == 0
    interrupted([*line, "out=stopped"], 2)
    assert main([*line, "resume=stopped"]) == 0
    require_same(Path("whole"), Path("stopped"))


def test_an_audit_of_images(looking):
    env, intention = looking
    line = [
        "audit", "checkpoint=looker", "environment=" + env, "home=null", "methods=null",
        "intention=" + intention, "images={}", "sizes=[16]", *SHORT, "out=audit",
        "view=record",
    ]  # fmt: skip
    assert main(line) == 0
    assert Path("audit/recording.rrd").stat().st_size > 1000
    rows = json.loads(Path("audit/summary.json").read_text())["rows"]
    found = [(row["method"], row["size"]) for row in rows]
    methods = ["random", "pgd", "rat", "sa_rl", "pa_ad"]
    assert found == [(method, 16) for method in methods]


def test_a_critic_of_the_state_weighs_what_is_seen_in_images():
    state = dataclasses.replace(
        screens.INTERFACE, observations={"state": screens.INTERFACE.observations["state"]}
    )
    sac = SAC(state, SACConfig(widths=(8,)))
    seen = {"front": torch.zeros(3, 8, 8, 3), "state": torch.tensor([[0.1], [0.2], [-0.3]])}
    action = torch.tensor([[0.5], [-0.5], [0.0]])
    expected = sac.network.targets(seen["state"], action).amin(dim=0)
    both = value_of(sighted(sac, screens.INTERFACE, state))
    torch.testing.assert_close(both(seen, action), expected)
    of_an_expert = value_of(GaussianExpert(sighted(sac, screens.INTERFACE, state)))
    torch.testing.assert_close(of_an_expert(seen, action), expected)
    torch.testing.assert_close(value_of(sac)(seen["state"], action), expected)
    assert value_of(screens.Right()) is value_of(None) is None
