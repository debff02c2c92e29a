"""``robolearn judge`` through the command line: people who walk to a goal on a plane."""

import json
import subprocess
import sys
from collections import defaultdict

import h5py
import numpy as np
import pytest

from demos.data.arrays import read
from demos.data.dataset import Dataset
from robolearn.__main__ import main
from robolearn.types import ArraySpec, Episode, Spec

PLANE = Spec(
    "test/Plane",
    {"state": ArraySpec((3,), names=("hand_x", "hand_y", "fingers"))},
    ArraySpec((3,), names=("dx", "dy", "gripper")),
    period_s=0.1,
)


def walk(rng, pause=0):
    """Walk to the origin and close the fingers: states [T + 1, 3], actions [T, 3]."""
    hand, fingers = np.array([1.0, 0.5]) + 0.05 * rng.standard_normal(2), 1.0
    states, actions = [[*hand, fingers]], []
    while fingers > 0.05:
        away = np.linalg.norm(hand)
        move = -hand / max(away, 1e-6) * min(1.0, 3 * away) + 0.1 * rng.standard_normal(2)
        if 10 <= len(actions) < 10 + pause:
            move = 0.02 * rng.standard_normal(2)
        actions.append([*np.clip(move, -1, 1), 1.0 if away < 0.1 else -1.0])
        hand = hand + 0.04 * np.array(actions[-1][:2])
        fingers = float(np.clip(fingers - 0.2 * actions[-1][2], 0, 1))
        states.append([*hand, fingers])
    return np.array(states, np.float32), np.array(actions, np.float32)


WALKERS = {"ann": (0, 0, 24), "twin": (1, 0, 5), "idler": (2, 60, 5)}  # seed, pause, how many


def walks(who):
    seed, pause, count = WALKERS[who]
    rng = np.random.default_rng(seed)
    return [walk(rng, pause) for _ in range(count)]


def fill(dataset, who, named=None):
    for states, actions in walks(who):
        rewards, about = (
            np.zeros(len(actions), np.float32),
            {"operator": who if named is None else named},
        )
        dataset.append(
            Episode({"state": states}, actions, rewards, True, False, True, metadata=about)
        )


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """All of them in one dataset, and one of ann's failures."""
    dataset = Dataset.create(tmp_path_factory.mktemp("people") / "people", PLANE)
    for who in WALKERS:
        fill(dataset, who)
    states, actions = walks("ann")[0]
    lost = np.zeros(5, np.float32)
    failure = Episode({"state": states[:6]}, actions[:5], lost, False, True, False)
    dataset.append(failure)
    return dataset.path


@pytest.fixture(scope="module")
def robomimic(tmp_path_factory):
    """The same as a robomimic file, whose actions reach 1.2 in places."""
    path = tmp_path_factory.mktemp("robomimic") / "low_dim.hdf5"
    with h5py.File(path, "w") as file:
        number = 0
        for who in WALKERS:
            names = []
            for states, actions in walks(who):
                names.append(f"demo_{number}")
                file[f"data/demo_{number}/actions"] = 1.2 * actions
                file[f"data/demo_{number}/obs/object"] = states[:-1]
                number += 1
            file[f"mask/{who}"] = np.array(names, "S")
    return path


def judge(tmp_path, *line):
    assert main(["judge", *line, f"out={tmp_path / 'run'}"]) == 0
    return json.loads((tmp_path / "run" / "summary.json").read_text())


@pytest.mark.usefixtures("drawn")
def test_the_others_of_a_dataset_are_judged(people, tmp_path, capsys):
    summary = judge(tmp_path, f"base={people}", "base_operator=ann", "worst=1")
    told = capsys.readouterr().out
    assert summary["base"]["demonstrations"] == 24 and summary["base"]["operator"] == "ann"
    assert len(summary["base"]["harm"]) == 24 and summary["base"]["rejected"] <= 0.2
    assert summary["operators"]["twin"]["accepted"] >= 0.8
    idler = summary["operators"]["idler"]
    assert idler["accepted"] == 0.0 and idler["harm"] > 1.0
    assert next(iter(idler["reasons"])) == "tempo"
    names = [one["name"] for one in summary["demonstrations"]]
    assert names == [f"demo_{i}" for i in range(24, 34)]
    texts = [reason["text"] for reason in summary["demonstrations"][-1]["reasons"]]
    assert any("slower than the base by" in text for text in texts)
    assert summary["clipped"] == {"base": 0, "new": 0} and summary["kept"] is None
    rows = [line.split() for line in told.splitlines()]
    assert rows[0][:3] == ["operator", "demonstrations", "accepted"]
    assert ["idler", "5", "0%"] == rows[2][:3] and rows[2][-2:] == ["5", "rejected)"]
    worst = max(summary["demonstrations"], key=lambda one: one["harm"])
    assert f"  {worst['name']} (idler), harm {worst['harm']:.2f}: " in told
    assert told.endswith("summary.json\n") and (tmp_path / "run" / "report.png").exists()
    logged = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(logged) == 10


def test_among_several_operators_the_base_is_the_one_called_so(people, tmp_path):
    path = tmp_path / "mixed"
    mixed = Dataset.create(path, PLANE)
    for name, who in (("twin", "twin"), ("base", "ann")):
        fill(mixed, who, named=name)
    summary = judge(tmp_path, f"base={path}")
    assert summary["base"]["operator"] == "base" and summary["base"]["demonstrations"] == 24
    assert list(summary["operators"]) == ["twin"]


def test_several_datasets_are_judged_at_once(people, tmp_path, capsys):
    paths = []
    for who in ("twin", "idler"):
        fill(Dataset.create(tmp_path / who, PLANE), who)
        paths.append(str(tmp_path / who))
    summary = judge(
        tmp_path, f"base={people}", "base_operator=ann", f"new=[{','.join(paths)}]",
        "by=demonstration",
    )  # fmt: skip
    assert summary["new"] == paths and list(summary["operators"]) == ["twin", "idler"]
    told = capsys.readouterr().out.splitlines()
    assert told[0].split()[:3] == ["demonstration", "operator", "accepted"]
    assert told[6].split()[:3] == ["idler/demo_0", "idler", "no"]


def test_datasets_of_the_same_name_are_not_one_person(people, tmp_path):
    for folder, who in (("a", "twin"), ("b", "idler")):
        (tmp_path / folder).mkdir()
        fill(Dataset.create(tmp_path / folder / "data", PLANE), who, named="")
    paths = [str(tmp_path / folder / "data") for folder in "ab"]
    summary = judge(tmp_path, f"base={people}", "base_operator=ann", f"new=[{','.join(paths)}]")
    assert [summary["operators"][path]["accepted"] for path in paths] == [1.0, 0.0]
    names = [one["name"] for one in summary["demonstrations"]]
    assert names == [f"{path}/demo_{i}" for path in paths for i in range(5)]


def test_what_is_accepted_is_kept(people, tmp_path):
    kept = tmp_path / "kept"
    summary = judge(tmp_path, f"base={people}", "base_operator=ann", f"keep={kept}")
    accepted = [one["operator"] for one in summary["demonstrations"] if one["accepted"]]
    assert summary["kept"] == str(kept) and len(accepted) >= 4
    assert list(read(kept).operators) == accepted


def test_slow_demonstrations_are_repaired(people, tmp_path, capsys):
    kept = tmp_path / "kept"
    line = (f"base={people}", "base_operator=ann", f"keep={kept}", "repair=true")
    summary = judge(tmp_path, *line)
    idlers = {one["name"]: one["steps"] for one in summary["demonstrations"][-5:]}
    assert idlers.keys() <= summary["repaired"].keys()
    told = capsys.readouterr().out
    rejected = sum(not one["accepted"] for one in summary["demonstrations"])
    assert f"repaired: {len(summary['repaired'])} of the {rejected} that are not accepted" in told
    episodes = [Dataset.open(kept).load(name) for name in read(kept).names]
    mended = [e for e in episodes if "repaired" in e.metadata and e.metadata["operator"] == "idler"]
    assert [e.metadata["repaired"]["name"] for e in mended] == list(idlers)
    assert all(len(e) < steps - 40 for e, steps in zip(mended, idlers.values(), strict=True))
    again = json.loads((tmp_path / "run" / "summary.json").read_text())["repaired"]
    assert [again[name] for name in idlers] == [len(e) for e in mended]
    args = [f"base={people}", "base_operator=ann", f"new={kept}", f"out={tmp_path / 'again'}"]
    assert main(["judge", *args]) == 0
    summary = json.loads((tmp_path / "again" / "summary.json").read_text())
    assert summary["operators"]["idler"]["accepted"] >= 0.8  # together; each alone is accepted


def test_if_nothing_is_accepted_nothing_is_kept(people, tmp_path):
    fill(Dataset.create(tmp_path / "idler", PLANE), "idler")
    kept = tmp_path / "kept.json"
    with pytest.warns(UserWarning, match="nothing is accepted, nothing is written"):
        summary = judge(
            tmp_path, f"base={people}", "base_operator=ann", f"new={tmp_path}/idler",
            f"keep={kept}",
        )  # fmt: skip
    assert summary["kept"] is None and not kept.exists()


def test_a_robomimic_file_is_judged_with_limits_of_its_own(robomimic, people, tmp_path):
    line = (f"base={robomimic}", "base_operator=ann", f"keep={tmp_path}/kept.hdf5")
    summary = judge(tmp_path, *line, "limits=[-1.2,[1.2,1.2,1.2]]")
    ours = judge(tmp_path / "ours", f"base={people}", "base_operator=ann")
    assert summary["clipped"] == {"base": 0, "new": 0}
    for one, other in zip(summary["demonstrations"], ours["demonstrations"], strict=True):
        assert one["accepted"] == other["accepted"] and one["operator"] == other["operator"]
        assert one["harm"] == pytest.approx(other["harm"], abs=1e-3)
    assert len(read(tmp_path / "kept.hdf5")) == sum(o["accepted"] for o in ours["demonstrations"])


@pytest.fixture
def thumbs(tmp_path):
    """A robomimic file of ann's and twin's, whose gripper is told 0 and 1, and names of its own."""
    path = tmp_path / "thumbs.hdf5"
    with h5py.File(path, "w") as file:
        for i, (who, pair) in enumerate((w, p) for w in ("ann", "twin") for p in walks(w)):
            states, actions = pair
            told = np.column_stack([actions[:, :2], actions[:, 2] > 0])
            file[f"data/demo_{i}/actions"] = told
            file[f"data/demo_{i}/obs/hand"] = states[:-1, :2]
            file[f"data/demo_{i}/obs/object"] = states[:-1, 2:]
            file[f"data/demo_{i}"].attrs["who"] = who
        names = {
            who: [n for n, d in file["data"].items() if d.attrs["who"] == who] for who in WALKERS
        }
        for who in ("ann", "twin"):
            file[f"mask/{who}"] = np.array(names[who], "S")
    return path


def test_what_is_compared_and_what_cannot_be_seen_are_told(thumbs, tmp_path, capsys):
    judge(tmp_path, f"base={thumbs}", "base_operator=ann")
    told = capsys.readouterr().out
    assert "\ncompared by 3 entries of the state, hand_0, hand_1, object_0\nnot seen: waits" in told
    assert "action_2 has two of which one is 0" in told
    judge(tmp_path / "both", f"base={thumbs}", "base_operator=ann", "limits=[[-1,-1,0],1]")
    assert "not seen" not in capsys.readouterr().out


def test_a_file_is_not_repaired_and_told_what_is(thumbs, tmp_path, capsys):
    line = (f"base={thumbs}", "base_operator=ann", "repair=true", f"keep={tmp_path}/kept")
    assert main(["judge", *line, f"out={tmp_path}/run"]) == 2
    assert f"first `robolearn convert {thumbs} FOLDER`" in capsys.readouterr().err


def cut(path, who, steps):
    """Write a dataset of somebody's demonstrations, the first of which is cut."""
    dataset = Dataset.create(path, PLANE)
    for i, (states, actions) in enumerate(walks(who)):
        states, actions = (states[: steps + 1], actions[:steps]) if i == 0 else (states, actions)
        rewards, about = np.zeros(len(actions), np.float32), {"operator": who}
        dataset.append(
            Episode({"state": states}, actions, rewards, True, False, True, metadata=about)
        )
    return path


def test_what_is_too_short_is_listed_and_not_kept(people, tmp_path, capsys):
    new = cut(tmp_path / "twin", "twin", steps=8)
    line = (f"base={people}", "base_operator=ann", f"new={new}", f"keep={tmp_path}/kept.json")
    summary = judge(tmp_path, *line, "view=record")
    first, *others = summary["demonstrations"]
    assert first["too_short"] and not first["accepted"] and first["steps"] == 8
    assert not any(one["too_short"] for one in others)
    assert summary["operators"]["twin"]["too_short"] == 1
    assert summary["accepted"] == sum(one["accepted"] for one in others) / 5
    kept = json.loads((tmp_path / "kept.json").read_text())["kept"]
    assert kept == [one["name"] for one in others if one["accepted"]] != []
    told = capsys.readouterr().out
    assert "too short to judge, of fewer than 19 steps: demo_0 (8 steps)\n" in told


def test_short_demonstrations_of_the_base_are_left_out(people, tmp_path):
    base = cut(tmp_path / "ann", "ann", steps=18)
    with pytest.warns(UserWarning, match=r"fewer than 19 steps are left out: demo_0 \(18 steps\)"):
        summary = judge(tmp_path, f"base={base}", f"new={people}")
    assert summary["base"]["demonstrations"] == 23


def test_what_is_clipped_is_told(robomimic, tmp_path):
    with pytest.warns(UserWarning) as told:
        summary = judge(tmp_path, f"base={robomimic}", "base_operator=ann", "clip=true")
    said = [str(one.message) for one in told if "clipped" in str(one.message)]
    assert [line.split(" ")[0] for line in said] == ["base", "new"]
    beyond = {name: 0 for name in ("base", "new")}
    for who in WALKERS:
        for _, actions in walks(who):
            steps = int((np.abs(1.2 * actions).max(axis=1) > 1 + 1e-6).sum())
            beyond["base" if who == "ann" else "new"] += steps
    assert summary["clipped"] == beyond and beyond["new"] > 0
    assert sum(one["clipped"] for one in summary["demonstrations"]) == beyond["new"]
    assert f"clipped the actions of {beyond['new']} of" in said[1]


def test_the_recording_shows_the_worst_of_each(people, tmp_path):
    from rerun.chunk import RrdReader

    judge(tmp_path, f"base={people}", "base_operator=ann", "view=record", "recorded=2")
    reader = RrdReader(tmp_path / "run" / "recording.rrd")
    rows = defaultdict(int)
    for chunk in reader.stream(store=reader.recordings()[0]):
        rows[chunk.entity_path] += chunk.to_record_batch().num_rows
    assert rows["/episodes"] == 4
    expected = {"/action", "/score/progress_lost", "/score/largest_residual"}
    expected |= {"/observation/hand", "/observation/fingers", "/observation/residual"}
    assert expected <= set(rows) and "/score/progress_lost/incompatible" in rows
    assert not any(entity.startswith(("/world", "/reward")) for entity in rows)


def test_no_simulator_is_imported(people, tmp_path):
    line = ["judge", f"base={people}", "base_operator=ann", f"out={tmp_path}/run"]
    source = (
        "import sys; from robolearn.__main__ import main; code = main(sys.argv[1:]); "
        "print(code, sorted({'mujoco', 'robosuite', 'sim', 'rerun'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source, *line], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("base_operator=ann new=[a,b,./a]", "one of these is given twice"),
        ("", "people is by several, ann, idler, twin: choose with base_operator=NAME"),
        ("base_operator=anne", "has no operator 'anne'; did you mean 'ann'?"),
        ("base_operator=ann new=nowhere", "nowhere: no such file or folder"),
        ("base_operator=ann new=[]", "new should have 1 or more entries"),
        ("base_operator=ann obs=[hands]", "no entry 'hands'; did you mean 'hand'?"),
        ("base_operator=ann limits=[0.5,1]", "demo_0: actions leave their limits at step 0"),
        ("base_operator=ann limits=[1]", "limits lacks its entry 2"),
        ("base_operator=ann limits=[0,1,2]", "limits should have 2 entries at most"),
        ("base_operator=ann limits=[[0,0],1]", "limits: low has shape (2,)"),
        ("base_operator=ann keep=kept.txt", "kept.txt: choose a name that ends in .hdf5"),
        ("base_operator=ann repair=true", "repair: what is repaired is written as a dataset"),
        ("base_operator=ann repair=true keep=x.json", "choose keep=FOLDER"),
        ("base_operator=ann keep=x.json new=[a,b]", "what is kept comes from one dataset"),
        ("base_operator=ann by=person", "by should be 'operator' or 'demonstration'"),
    ],
)
def test_wrong_input_is_one_line(people, project, capsys, line, said):
    assert main(["judge", f"base={people}", *line.split()]) == 2
    output = capsys.readouterr()
    assert said in output.err and output.err.count("\n") == 1 and output.out == ""
    assert not list((project / "runs").glob("*/*"))


def test_a_base_that_is_all_there_is_is_refused(tmp_path, capsys):
    fill(Dataset.create(tmp_path / "ann", PLANE), "ann")
    assert main(["judge", f"base={tmp_path}/ann", f"out={tmp_path}/run"]) == 2
    assert "holds only the base's demonstrations: choose new=DATASET" in capsys.readouterr().err


def test_datasets_that_do_not_fit_are_refused_unless_asked(people, robomimic, tmp_path, capsys):
    line = [f"base={people}", "base_operator=ann", f"new={robomimic}", "limits=[-2,2]"]
    assert main(["judge", *line, f"out={tmp_path}/run"]) == 2
    told = capsys.readouterr().err
    assert "its state lacks hand_x, hand_y, fingers; its state has besides object_0" in told


@pytest.mark.usefixtures("drawn")
def test_a_name_that_looks_like_a_formula_is_drawn_as_it_is(tmp_path):
    path = tmp_path / "odd"
    odd = Dataset.create(path, PLANE)
    for who in ("ann", "twin"):
        fill(odd, who, {"ann": "base", "twin": "b$x^$"}[who])
    judge(tmp_path, f"base={path}")
    assert (tmp_path / "run" / "report.png").exists()
