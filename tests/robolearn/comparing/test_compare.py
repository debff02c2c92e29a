"""Runs side by side: which belong together, what is said of them, what the report holds."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator

from robolearn.__main__ import main
from robolearn.comparing.compare import CompareConfig, comparison_of
from robolearn.comparing.conditions import folders_of
from robolearn.comparing.curves import curve_of
from robolearn.comparing.scores import score_of
from robolearn.errors import UserError

WHOLE = {"success": 0.0, "whole": True, "episodes": 10}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(
    folder, score, seed=0, gamma=0.9, env="dmc/walker-walk", commit="a" * 40, curve=(), **more
):
    """Write what a run of PPO leaves that is looked at."""
    run = Path(folder)
    run.mkdir(parents=True)
    options = json.dumps(more)
    (run / "config.yaml").write_text(
        f"verb: ppo\nseed: {seed}\nthreads: {seed + 1}\nppo: {{gamma: {gamma}}}\n"
        f"env: {{name: {env}, options: {options}}}\n"
        f"provenance: {{commit: {commit}, dirty: false}}\n"
    )
    lines = [json.dumps({"step": 10 * i, "return": value}) for i, value in enumerate(curve)]
    (run / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))
    if score is not None:
        summary = {"steps": 5, "evaluation": WHOLE | {"return": score}}
        (run / "summary.json").write_text(json.dumps(summary))
    return run


def compared(*paths, **settings):
    return comparison_of(folders_of([Path(path) for path in paths]), CompareConfig(**settings))


def test_runs_that_differ_in_their_seed_alone_belong_together():
    for seed, score in enumerate((1.0, 2.0, 6.0)):
        make(f"all/a{seed}", score, seed)
        make(f"all/b{seed}", 10 + score, seed, gamma=0.99)
    first, other = compared("all").rows
    assert (first.condition.name, other.condition.name) == ("gamma=0.9", "gamma=0.99")
    assert (first.mean, first.iqm, first.runs) == (3.0, 3.0, 3)
    assert 1.0 <= first.iqm_interval[0] < 3.0 < first.iqm_interval[1] <= 6.0
    assert (first.improvement, other.improvement) == (None, 1.0)


def test_less_of_a_loss_is_better():
    for seed in range(2):
        for name, gamma in (("low", 0.9), ("high", 0.99)):
            run = make(f"all/{name}{seed}", None, seed, gamma)
            loss = seed + 5 * (name == "high")
            (run / "summary.json").write_text(json.dumps({"validation_loss": loss}))
    found = compared("all")
    assert found.less_is_better
    assert found.rows[1].improvement == 0.0
    assert compared("all", less=False).rows[1].improvement == 1.0
    assert compared("all", base="gamma=0.99").rows[1].improvement == 1.0


def test_conditions_are_sorted_by_value_unless_their_order_is_given():
    make("all/x", 1.0, gamma=0.5)
    make("all/y", 1.0, gamma=0.25)
    make("all/z", 1.0, gamma=0.125)
    names = [row.condition.name for row in compared("all").rows]
    assert names == ["gamma=0.125", "gamma=0.25", "gamma=0.5"]
    main(["compare", "all/y", "all/x", "all/z", "out=report"])
    told = json.loads(Path("report/report.json").read_text())
    assert list(told["conditions"]) == ["gamma=0.25", "gamma=0.5", "gamma=0.125"]


def test_environments_are_tasks_that_count_together():
    for seed in range(2):
        for gamma in (0.9, 0.99):
            for task, score in (("dmc/a-b", 1.0), ("dmc/c-d", 3.0)):
                make(f"all/{task[4]}{gamma}{seed}", score * gamma, seed, gamma, env=task)
    found = compared("all")
    assert found.tasks == ("dmc/a-b", "dmc/c-d")
    assert [row.mean for row in found.rows] == pytest.approx([1.8, 1.98])
    assert [row.condition.name for row in found.rows] == ["gamma=0.9", "gamma=0.99"]
    assert len(compared("all", tasks="none").rows) == 4
    Path("all/a0.90/summary.json").unlink()
    Path("all/a0.91/summary.json").unlink()
    with pytest.raises(UserError, match=r"gamma=0.9: no run on dmc/a-b has ended"):
        compared("all")


def test_settings_that_some_runs_lack_are_named_where_nothing_else_tells_them_apart():
    make("all/plain", 1.0)
    make("all/robot", 1.0, robot="Panda")
    make("all/gamma", 1.0, gamma=0.99, engine="fast")
    names = [row.condition.name for row in compared("all").rows]
    assert names == ["gamma=0.9, robot=null", "gamma=0.9, robot=Panda", "gamma=0.99, robot=null"]


def test_labels_name_conditions_and_other_settings_only_where_they_must():
    for seed in (0, 1):
        for label, gamma in (("usual", 0.9), ("far", 0.99)):
            label_run(make(f"all/{label}{seed}", 1.0, seed, gamma), label)
    assert [row.condition.name for row in compared("all").rows] == ["far", "usual"]
    make("all/bare", 1.0, gamma=0.9)
    names = [row.condition.name for row in compared("all").rows]
    assert sorted(names) == ["far", "no label", "usual"]
    label_run(make("all/farther", 1.0, gamma=0.999), "far")
    names = [row.condition.name for row in compared("all").rows]
    assert {"far, gamma=0.99", "far, gamma=0.999"} < set(names)


def test_replicates_of_a_study_are_one_condition():
    for i in (0, 1, 2):
        with (make(f"all/{i}", float(i)) / "config.yaml").open("a") as config:
            config.write(f"replicate: {i}\n")
    (row,) = compared("all").rows
    assert (row.runs, row.mean) == (3, 1.0)


def label_run(run, label):
    with (run / "config.yaml").open("a") as config:
        config.write(f"label: {label}\n")


def test_labels_come_in_the_order_in_which_their_sweep_has_them():
    for label, gamma in (("a", 0.9), ("usual", 0.99), ("b", 0.999)):
        label_run(make(f"all/{label}", 1.0, gamma=gamma), label)
    Path("all/sweep.yaml").write_text("sweep: {conditions: {usual: null, b: {ppo.gamma: 0.999}}}")
    assert [row.condition.name for row in compared("all").rows] == ["usual", "b", "a"]


def test_lists_are_sorted_by_their_numbers():
    make("all/x", 1.0, sizes=[256, 256])
    make("all/y", 1.0, sizes=[64, 64, 64])
    assert compared("all").rows[0].condition.settings == {"env.options.sizes": [64, 64, 64]}


def test_a_run_on_its_own_keeps_its_own_report(capsys):
    make("one", 1.0)
    Path("one/report.png").write_bytes(b"its own")
    assert main(["compare", "one"]) == 0
    assert Path("one/report.png").read_bytes() == b"its own"
    assert capsys.readouterr().out.splitlines()[-1].startswith("runs/compare/")


def test_the_same_run_twice_is_told_apart_by_its_commit_or_refused():
    make("one", 1.0)
    make("other", 2.0, commit="b" * 40)
    assert [row.condition.name for row in compared("one", "other").rows] == [
        "commit=aaaaaaaaaaaa", "commit=bbbbbbbbbbbb",
    ]  # fmt: skip
    make("again", 1.0)
    with pytest.raises(UserError, match=r"again: the same settings and seed as one; leave one out"):
        compared("one", "again")


def test_runs_that_have_not_ended_are_left_out_and_named():
    make("all/a", 1.0)
    make("all/b", None, seed=1)
    found = compared("all")
    assert (found.left_out, found.rows[0].runs) == ((Path("all/b"),), 1)
    assert found.rows[0].condition.name == "all runs"
    with pytest.raises(UserError, match=r"all/b: has not ended, nor has any other run"):
        compared("all/b")


@pytest.mark.parametrize(
    ("summary", "name", "score"),
    [
        ({"evaluation": {"success": 0.5, "return": 7.0, "whole": False}}, None, 0.5),
        ({"evaluation": {"success": 0.5, "return": 7.0, "whole": True}}, None, 7.0),
        ({"steps": 9, "coverage": 0.25, "lift_share": 1}, None, 0.25),
        ({"steps": 9, "strange": 4}, None, 4.0),
        ({"steps": 9, "strange": 4}, "steps", 9.0),
        ({"steps": 9, "text": "x", "flag": True, "none": None}, None, None),
    ],
)
def test_the_usual_score_is_the_return_of_whole_episodes_else_success_else_what_there_is(
    summary, name, score
):
    found = score_of(summary, name)
    assert (found and found.value) == score


def test_curves_are_brought_to_the_steps_that_all_runs_have():
    make("a", 1.0, curve=[0.0, 1.0, 2.0, 3.0, 4.0])
    make("b", 1.0, curve=[4.0, 5.0, 6.0])
    curve = curve_of([Path("a"), Path("b")], "return")
    assert (curve.steps[0], curve.steps[-1]) == (0, 20)
    np.testing.assert_allclose(curve.iqm[[0, -1]], [2.0, 4.0])
    np.testing.assert_allclose([curve.low[-1], curve.high[-1]], [2.0, 6.0])
    assert curve_of([Path("a"), Path("b")], "loss") is None


BAD = [
    ("compare", "expected: robolearn compare RUN [RUN ...]"),
    ("compare nowhere", "nowhere: no run there (a folder with config.yaml), nor a folder of some"),
    ("compare all scroe=x", "'scroe=x': unknown key 'scroe'; did you mean 'score'?\n"),
    ("compare all score=evaluation.retrun", "all/a: no number 'evaluation.retrun' in it; did you "
     "mean 'evaluation.return'?\n"),
    ("compare all base=gama", "'base=gama': no such condition; known: all runs\n"),
    ("compare all curve=retrun", "'curve=retrun': no run has logged it twice; did you mean "
     "'return'?\n"),
    ("compare all tasks=env.nam", "'tasks=env.nam': no such setting in these runs; did you mean "
     "'env.name'?\n"),
    ("compare --all", "expected: robolearn compare RUN"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), BAD, ids=[line for line, _ in BAD])
def test_what_is_wrong_is_one_line(capsys, line, said):
    make("all/a", 1.0, curve=[1.0, 2.0])
    assert main(line.split()) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"robolearn: {said}")
    assert (output.err.count("\n"), output.out) == (1, "")


def test_a_damaged_run_is_one_line(capsys):
    make("all/a", 1.0)
    Path("all/a/summary.json").write_text('{"ste')
    assert main(["compare", "all"]) == 2
    assert capsys.readouterr().err.startswith("robolearn: all/a/summary.json: damaged: ")


def test_without_what_was_logged_there_is_no_curve_and_damage_is_one_line(capsys):
    run = make("all/one", 1.0, curve=[1.0, 2.0])
    (run / "metrics.jsonl").write_text('{"step": 1, "ret')
    assert main(["compare", "all"]) == 2
    assert "all/one/metrics.jsonl: damaged: " in capsys.readouterr().err
    (run / "metrics.jsonl").unlink()
    assert compared("all").curve is None


def test_the_report_is_a_table_a_picture_figures_and_a_page_that_needs_nothing_else(capsys):
    for seed in range(2):
        curve = np.linspace(0, 5 + seed, 30).tolist()
        make(f"all/a{seed}", 1.0 + seed, seed, curve=curve)
        make(f"all/b{seed}", 5.0, seed, curve=curve, robot="<b>$x^2$</b>")
    assert main(["compare", "all"]) == 0
    output = capsys.readouterr().out
    assert re.search(r"robot=null +2 +1\.5 \(1 to 2\) +1\.5 \(1 to 2\) +the base\n", output)
    assert "with fewer than 5 runs they are too narrow" in output
    assert output.endswith("all/report.png\nall/report.html\nall/report.json\n")
    assert Path("all/report.png").read_bytes().startswith(b"\x89PNG")
    page = Path("all/report.html").read_text()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert not re.findall(r"https?://|<script|<link|src=\"(?!data:)", page)
    told = json.loads(Path("all/report.json").read_text())
    row = told["conditions"]["robot=null"]
    assert row["scores"] == {"": {"all/a0": 1.0, "all/a1": 2.0}}
    assert (told["score"], told["curve"], row["mean"]) == ("evaluation.return", "return", 1.5)
    assert main(["compare", "all"]) == 0  # again, with what is in there by now


def test_tensorboard_reads_what_was_logged(capsys):
    make("all/one", 1.0, curve=[1.0, 3.0, 2.0])
    make("all/other", 2.0, seed=1, curve=[4.0, 5.0])
    make("all/silent", 2.0, seed=2).joinpath("metrics.jsonl").unlink()
    for _ in range(2):
        assert main(["compare", "all", "tensorboard=true"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all/tensorboard"
    assert len(list(Path("all/tensorboard/all/one").iterdir())) == 1  # what was there is gone
    reading = event_accumulator.EventAccumulator("all/tensorboard/all/one").Reload()
    assert reading.Tags()["scalars"] == ["return"]
    read = [(event.step, event.value) for event in reading.Scalars("return")]
    assert read == [(0, 1.0), (10, 3.0), (20, 2.0)]
    Path("all/silent/metrics.jsonl").write_text('{"other": 1.0}\n')
    assert main(["compare", "all", "tensorboard=true"]) == 2
    assert "all/silent/metrics.jsonl: damaged: 'step'" in capsys.readouterr().err


def test_the_report_of_a_run_is_not_written_over_by_a_comparison_of_it_alone(capsys):
    run = make("all/one", 1.0)
    (run / "report.png").write_text("its own")
    assert main(["compare", "all/one"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("runs/compare/")
    assert (run / "report.png").read_text() == "its own"


def test_tensorboard_finds_each_run_once_and_none_that_logged_nothing(capsys):
    (make("all/one", 1.0) / "metrics.jsonl").unlink()
    run = make("all/other", 2.0, seed=1, curve=[1.0, 3.0])
    for _ in range(2):
        assert main(["compare", "all", "tensorboard=true"]) == 0
    assert len(list(Path("all/tensorboard").rglob("events.*"))) == 1
    (run / "metrics.jsonl").write_text('{"step": 1, "ret')
    assert main(["compare", "all", "tensorboard=true"]) == 2
    assert "all/other/metrics.jsonl: damaged: " in capsys.readouterr().err


def test_without_tensorboard_the_extra_is_named(monkeypatch, capsys):
    make("all/one", 1.0, curve=[1.0, 3.0])
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert main(["compare", "all", "tensorboard=true"]) == 2
    assert "pip install 'robolearn[tensorboard]'" in capsys.readouterr().err
