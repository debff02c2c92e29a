"""What a sweep's lists make of a launch file, and what is wrong with some."""

from pathlib import Path

import pytest

from robolearn.errors import UserError
from robolearn.running import launch
from robolearn.sweeps import grid

FILE = """\
verb: ppo
env: {name: dmc/walker-walk}
sweep:
  seed: [0, 1]
  ppo.gamma: [0.97, 0.99]
"""


def read(*overrides, text=FILE):
    Path("walk.yaml").write_text(text)
    return grid.read(Path("walk.yaml"), overrides)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_combination_is_a_run_one_seed_after_the_other():
    members = read().members
    assert [member.name for member in members] == [
        "gamma-0.97_seed-0", "gamma-0.99_seed-0", "gamma-0.97_seed-1", "gamma-0.99_seed-1",
    ]  # fmt: skip
    assert [(m.launch.common.seed, m.launch.config.ppo.gamma) for m in members] == [
        (0, 0.97), (0, 0.99), (1, 0.97), (1, 0.99),
    ]  # fmt: skip
    assert members[3].changes == {"ppo.gamma": 0.99, "seed": 1}
    assert "sweep" not in members[0].launch.settings()


def test_keys_are_dotted_or_nested_in_the_file_or_on_the_command_line():
    dotted = read().fingerprint()
    nested = FILE.replace("ppo.gamma: [0.97, 0.99]", "ppo: {gamma: [0.97, 0.99]}")
    assert read(text=nested).fingerprint() == dotted
    bare = "verb: ppo\nenv: {name: dmc/walker-walk}\n"
    line = ("sweep.seed=[0, 1]", "sweep.ppo.gamma=[0.97, 0.99]")
    assert read(*line, text=bare).fingerprint() == dotted
    assert read("sweep.seed=[0, 1, 2]").fingerprint() != dotted
    one = read("ppo.gamma=0.9", "sweep={seed: [0]}").fingerprint()  # its runs are called otherwise
    assert one != read("sweep={seed: [0], ppo.gamma: [0.9]}").fingerprint()
    assert read("sweep.ppo.gamma=[0.5]").members[0].changes == {"ppo.gamma": 0.5, "seed": 0}


def test_a_sweep_is_the_same_wherever_and_however_many_at_a_time_it_is_run():
    same = ("sweep.at_once=3", "sweep.engine=ray", "view=record", "out=elsewhere")
    assert read(*same).fingerprint() == read().fingerprint()
    assert read(*same).config == grid.SweepConfig(engine="ray", at_once=3)
    here, there = (read(f"workers={{count: 2, address: {at}}}") for at in ("here:1", "there:2"))
    assert here.fingerprint() == there.fingerprint() != read().fingerprint()


def test_names_can_stand_in_a_folder_and_are_all_different():
    swept = "sweep={ppo.widths: [[64, 64], [128]], env.name: [dmc/walker-walk, gym/A-v1]}"
    assert [member.name for member in read(swept).members] == [
        "widths-64-64_name-dmc-walker-walk", "widths-64-64_name-gym-A-v1",
        "widths-128_name-dmc-walker-walk", "widths-128_name-gym-A-v1",
    ]  # fmt: skip
    swept = "sweep={env.name: [dmc/walker-walk, dmc-walker/walk], evaluation.episodes: [1]}"
    assert [member.name for member in read(swept).members] == [
        "name-dmc-walker-walk_episodes-1", "name-dmc-walker-walk_episodes-1_2",
    ]  # fmt: skip
    swept = "sweep={evaluation.horizon: [9], training.horizon: [8]}"
    assert read(swept).members[0].name == "evaluation.horizon-9_training.horizon-8"


def test_what_the_base_lacks_may_be_swept():
    text = "verb: bc\nsweep: {dataset: [one, other]}"
    assert [member.launch.config.dataset for member in read(text=text).members] == ["one", "other"]


CONDITIONS = """\
verb: ppo
env: {name: dmc/walker-walk}
sweep:
  conditions:
    usual:
    small nets: {ppo.widths: [32, 32], ppo.minibatch: 64}
  seed: [0, 1]
"""


def test_conditions_have_a_name_and_any_settings():
    members = read(text=CONDITIONS).members
    assert [(m.name, m.launch.common.label) for m in members] == [
        ("usual_seed-0", "usual"), ("small-nets_seed-0", "small nets"),
        ("usual_seed-1", "usual"), ("small-nets_seed-1", "small nets"),
    ]  # fmt: skip
    assert members[3].changes == {
        "label": "small nets", "ppo.widths": [32, 32], "ppo.minibatch": 64, "seed": 1,
    }  # fmt: skip
    assert members[3].launch.config.ppo.widths == (32, 32)
    assert members[2].launch.config.ppo.widths == (128, 128)
    assert read("sweep.conditions.large={ppo.minibatch: 512}", text=CONDITIONS).members[2].changes


def test_a_condition_called_as_what_lies_beside_runs_gets_another_name():
    swept = "sweep={conditions: {launch: {ppo.gamma: 0.9}, logs: {ppo.gamma: 0.8}}}"
    assert [member.name for member in read(swept).members] == ["launch_2", "logs_2"]


def test_a_section_of_a_condition_is_put_in_place_of_the_files_unless_it_loses_something():
    text = CONDITIONS + "ppo: {gamma: 0.9}\n"
    members = read("sweep.conditions.small nets={ppo: {gamma: 0.8, clip: 0.1}}", text=text).members
    assert [member.launch.config.ppo.gamma for member in members] == [0.9, 0.8] * 2
    said = "ppo would lose the file's gamma; 'ppo.clip: ...' changes that alone"
    far, near = "sweep.conditions.far.ppo.clip=0.1", "sweep.conditions.near={ppo: {clip: 0.1}}"
    for name, override in (("far", far), ("near", near)):
        with pytest.raises(UserError) as caught:
            read(override, text=text)
        assert str(caught.value) == f"'{override}': {name}: {said}"


def test_a_condition_of_another_name_is_another_sweep():
    renamed = CONDITIONS.replace("usual", "base")
    assert read(text=CONDITIONS).fingerprint() != read(text=renamed).fingerprint()


WRONG_CONDITIONS = [
    ("sweep.conditions.large={ppo.gama: 1.0}", "'sweep.conditions.large={ppo.gama: 1.0}': unknown "
     "key 'ppo.gama'; did you mean 'gamma'?"),
    ("sweep.conditions.large={seed: 3}", "walk.yaml:7: 'seed' stands twice"),
    ("sweep.ppo.minibatch.x=[1]", "'sweep.ppo.minibatch.x=[1]': 'ppo.minibatch.x' stands twice"),
    ("sweep.ppo=[{}]", "'sweep.ppo=[{}]': 'ppo' stands twice"),
    ("sweep.conditions.large={out: x}", "'sweep.conditions.large={out: x}': 'out' cannot be swept"),
    ("sweep.conditions.large=3", "'sweep.conditions.large=3': condition 'large' should be 'key: "),
    ("sweep.label=[a]", "'sweep.label=[a]': 'label' cannot be swept; conditions have names"),
    ("sweep.conditions=[a]", "'sweep.conditions=[a]': sweep.conditions should be 'name: {key: "),
    ("sweep.conditions={}", "'sweep.conditions={}': sweep.conditions should be 'name: {key: value"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "said"), WRONG_CONDITIONS)
def test_what_is_wrong_in_a_condition_is_said_with_its_place(override, said):
    with pytest.raises(UserError) as caught:
        read(override, text=CONDITIONS)
    assert str(caught.value).startswith(said)


WRONG = [
    ("sweep.ppo.gama=[1.0]", "'sweep.ppo.gama=[1.0]': unknown key 'ppo.gama'; did you mean 'gam"),
    ("sweep.sede=[1]", "'sweep.sede=[1]': unknown key 'sede'; did you mean 'seed'?"),
    ("sweep.seed=3", "'sweep.seed=3': sweep.seed should be a list of values, [a, b], not 3"),
    ("sweep.seed=[]", "'sweep.seed=[]': sweep.seed should be a list of values, [a, b], not []"),
    ("sweep.seed=[-1]", "'sweep.seed=[-1]': seed should be greater than or equal to 0, not -1"),
    ("sweep.seed=[1, 1]", "'sweep.seed=[1, 1]': seed: 1 stands twice"),
    ("sweep={ppo.gamma: [1, 1.0]}", "'sweep={ppo.gamma: [1, 1.0]}': gamma-1 and gamma-1.0 are the "
     "same run"),
    ("sweep={ppo: {gamma: [0.9]}, ppo.gamma: [0.8]}", "'sweep={ppo: {gamma: [0.9]}, ppo.gamma: "
     "[0.8]}': 'ppo.gamma' stands twice"),
    ("sweep.enigne=ray", "'sweep.enigne=ray': sweep.enigne should be a list of values, [a, b], "
     "not 'ray'; did you mean 'engine'?"),
    ("sweep.engine=rya", "'sweep.engine=rya': sweep.engine should be 'local' or 'ray', not 'rya'"),
    ("sweep.at_once=0", "'sweep.at_once=0': sweep.at_once should be greater than 0, not 0"),
    ("sweep.address=auto", "'sweep.address=auto': sweep.address: is for engine: ray"),
    ("sweep.gpus=1.0", "'sweep.gpus=1.0': sweep.gpus: are given out by engine: ray alone"),
    ("sweep.out=[a]", "'sweep.out=[a]': 'out' cannot be swept"),
    ("sweep={engine: local}", "'sweep={engine: local}': sweep has no list of values, 'seed:"),
    ("sweep=3", "'sweep=3': sweep"),
    ("threads=2", "'threads=2': 2 threads on sweep.cpus=1; sweep.cpus=2 would be right"),
    ("view=live", "'view=live': view=live is for a single run"),
    ("resume=x", "'resume=x': the same command goes on with a sweep, without resume="),
    (f"sweep.seed={list(range(5001))}", "walk.yaml:3: sweep has 10,002 runs; 10,000 at most"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_wrong_is_said_with_its_place(override, said):
    with pytest.raises(UserError) as caught:
        read(override)
    assert str(caught.value).startswith(said)


def test_a_wrong_value_in_the_file_is_said_with_its_line():
    with pytest.raises(UserError, match=r"^walk.yaml:5: ppo.gamma should be .*, not 'x'"):
        read(text=FILE.replace("0.99", "x"))
    with pytest.raises(UserError, match=r"^walk.yaml:5: unknown key 'ppo.gama'; did you mean"):
        read(text=FILE.replace("gamma", "gama"))


def test_who_lists_values_for_a_single_run_is_told_of_sweeps():
    read()
    for given in ("0,1", "[0, 1]"):
        with pytest.raises(UserError, match=r"; 'sweep.seed=\[0, 1\]' makes a run of each$"):
            launch.read(Path("walk.yaml"), ["sweep=null", f"seed={given}"])


def test_what_a_run_makes_of_another_line_is_said_with_its_name():
    text = FILE.replace("sweep:", "training: {horizon: 5}\nsweep:")
    said = r"^walk.yaml:3: unknown key 'training.horizon'.* \(run verb-sac_gamma-0.97_seed-0\)$"
    with pytest.raises(UserError, match=said):
        read("sweep.verb=[ppo, sac]", "sweep.ppo.gamma=[0.97]", text=text)


def test_every_run_is_checked_not_the_first_alone():
    with pytest.raises(UserError, match=r"ppo.gamma should be less than"):
        read("sweep.ppo.gamma=[0.9, 1.5]")


def test_whether_there_is_a_sweep_is_seen_without_reading_more():
    Path("walk.yaml").write_text(FILE)
    assert grid.is_sweep(Path("walk.yaml"), [])
    assert not grid.is_sweep(Path("walk.yaml"), ["sweep=null"])
    assert launch.read(Path("walk.yaml")).common.seed == 0
