"""What benchmarks share: runs that are done once, tables, the choice of weights."""

from pathlib import Path

import harm
import harm_verdicts
import numpy as np
import portability
import pytest
import slim
import swept
import table

from demos.operators import named_task
from robolearn.algos.progress import ProgressConfig
from robolearn.errors import UserError
from robolearn.judging.harm import HarmJudge
from robolearn.judging.verdicts import HarmJudgeConfig
from robolearn.running import launch, strict_yaml
from robolearn.types import ArraySpec, Spec

LINE = ["evaluate_lift", "checkpoint=nowhere"]  # nothing is there to be evaluated


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(swept, "FOLDER", tmp_path)
    return tmp_path / "group"


def finish(run, line):
    resolved = launch.read(launch.find(line[0]), line[1:]).settings()
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(strict_yaml.dump(resolved))
    (run / "summary.json").write_text('{"coverage": 0.5}')


def test_what_ended_is_not_run_again(folder):
    finish(folder / "seed-3", [*LINE, "seed=3"])  # which would fail
    assert list(swept.runs_of(LINE, "group", seed=[3])) == [({"seed": 3}, folder / "seed-3")]


def test_a_folder_that_another_line_made_is_refused(folder):
    finish(folder / "seed-3", LINE)
    with pytest.raises(UserError, match="seed-3: that run has seed=0, not 3"):
        list(swept.runs_of(LINE, "group", seed=[3]))


def test_a_line_that_is_wrong_keeps_all_from_beginning(folder):
    conditions = {"one": {}, "other": swept.settings(["episods=9"])}
    with pytest.raises(UserError, match=r"unknown key 'episods'"):
        list(swept.runs_of(LINE, "group", conditions=conditions))
    assert not folder.exists()


def test_a_run_that_fails_is_told_with_its_last_words(folder, capfd):
    with pytest.raises(RuntimeError, match="group: 1 runs failed"):
        list(swept.runs_of(LINE, "group", seed=[3]))
    said = "seed-3: failed (exit code 2): robolearn: checkpoint: none in nowhere"
    assert said in capfd.readouterr().err


def test_an_unknown_variant_is_told_with_the_nearest(capsys):
    assert swept.known([], ["slim", "single"]) == ["slim", "single"]
    with pytest.raises(SystemExit, match="'singel'.*single"):
        swept.known(["singel"], ["slim", "single"])


def test_a_table_has_means_and_ranges():
    rows = [
        {"variant": "slim", "lifts": 0.25, "force": {"table": 1000.0}},
        {"variant": "slim", "lifts": 0.75, "force": {"table": 1000.0}},
        {"variant": "single", "lifts": None},
    ]
    assert list(table.table(rows, "variant", ["lifts", "force.table"])) == [
        "| variant | runs | lifts | table |",
        "|---|---|---|---|",
        "| slim | 2 | 0.5 (0.25 to 0.75) | 1,000 |",
        "| single | 1 |  |  |",
    ]


def row(variant, seed, coverage, lifts, force):
    violations = {"table_force": force}
    return {"variant": variant, "seed": seed, "coverage": coverage, "lift_share": lifts,
            "violations_per_episode": violations}  # fmt: skip


def test_weights_that_do_damage_are_not_the_best(monkeypatch, capsys):
    def found(trials, seeds, steps):
        assert len(trials) == len(slim.TRIALS) and list(seeds) == [slim.SEARCH_SEED]
        for k, name in enumerate(trials):
            yield row(name, 0, 0.1 * k, 0.0, force=1.0 if k > 5 else 0.1)

    monkeypatch.setattr(slim, "measure", found)
    discovery, safety = slim.TRIALS[5]
    assert f"discovery: {discovery}, safety: {safety}" in slim.tuned(1000)[-1]
    assert len(capsys.readouterr().out.splitlines()) == len(slim.TRIALS)


def test_scales_are_drawn(tmp_path):
    names = ["slim", "single", *slim.SCALES]
    rng = np.random.default_rng(0)
    rows = [row(name, seed, *rng.random(2), 0.0) for name in names for seed in range(3)]
    slim.draw(rows, tmp_path / "scales.png")
    assert (tmp_path / "scales.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("kernel", "changes", "sound"),
    [
        ("own", {}, True),
        ("own", {"blas": {}}, False),  # nobody told
        ("Haswell", {}, True),
        ("SkylakeX", {}, False),
        ("Prescott", {"blas": {"numpy": "Katmai", "opencv": "Prescott"}}, True),
        ("Prescott", {"blas": {"numpy": "Katmai", "scipy": "Haswell"}}, False),
        ("numpy plain", {}, False),
        ("numpy plain", {"numpy": []}, True),
        ("torch without AVX-512", {}, False),
        ("torch without AVX-512", {"torch": "AVX2"}, True),
    ],
)
def test_what_ran_is_held_against_what_was_asked_for(kernel, changes, sound):
    row = {"blas": {"numpy": "Haswell"}, "numpy": ["X86_V3"], "torch": "AVX512"} | changes
    assert portability.as_asked(row, portability.KERNELS[kernel]) is sound


def test_a_kernel_that_failed_or_ran_nothing_is_no_success(capsys):
    row = {"kernel": "own", "blas": {"numpy": "Haswell"}, "numpy": [], "torch": "AVX2"}
    assert portability.report(row | {"exit_code": 0})
    assert not portability.report(row | {"exit_code": 5})
    assert not portability.report({"kernel": "own", "exit_code": -4})  # it did not get far
    assert portability.report({"kernel": "SkylakeX", "left_out": "this processor lacks avx512f"})
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_their_ppo_sees_truncation_as_ours_does():
    pytest.importorskip("stable_baselines3", reason="needs the benchmarks extra")
    import ppo_horizons

    from sim import make_vec

    batch = make_vec("dmc/cartpole-balance", 2, threads=1, horizon=3)
    env = ppo_horizons.AsTheirs(batch, seed=0)
    env.reset()
    for t in range(3):
        observation, _, dones, infos = env.step(np.zeros((2, 1), np.float32))
        assert dones.tolist() == [t == 2] * 2
        assert [info.get("TimeLimit.truncated", False) for info in infos] == [t == 2] * 2
    assert infos[1]["terminal_observation"].shape == observation[1].shape
    assert (infos[1]["terminal_observation"] != observation[1]).any()
    batch.close()


def test_a_measure_of_harm_is_named_by_its_code_and_its_configuration(tmp_path):
    names = {harm.measure_of(HarmJudgeConfig())}
    names.add(harm.measure_of(HarmJudgeConfig(progress_line=0.2)))
    names.add(harm.measure_of(HarmJudgeConfig(progress=ProgressConfig(bandwidth=2.0))))
    names.add(harm.measure_of(HarmJudgeConfig()))
    assert len(names) == 3
    for i in range(len(harm.MEASURE)):
        files = list(harm.MEASURE)
        source, changed = Path(files[i]).read_text(), tmp_path / f"{i}.py"
        changed.write_text(source.replace("1.0", "2.0", 1))
        files[i] = changed
        names.add(harm.measure_of(HarmJudgeConfig(), tuple(files)))
    assert len(names) == 3 + len(harm.MEASURE)


def test_words_about_a_measure_are_no_part_of_it():
    code = 'def f(x):\n    """Double."""\n    return 2 * x  # twice\n\n\nclass A:\n    b: int = 0\n'
    other = code.replace("Double", "Give twice").replace("  # twice", "")
    other = '"""A module."""\n' + other + '    """What b is."""\n'
    assert harm.code_of(code) == harm.code_of(other)
    assert harm.code_of(code) != harm.code_of(code.replace("2 * x", "3 * x"))


def test_rows_say_with_which_measure_they_were_made():
    rng = np.random.default_rng(0)
    states = [np.cumsum(0.1 + 0.02 * rng.standard_normal((40, 3)), axis=0) for _ in range(8)]
    pairs = [(s, np.clip(s - s.mean(0), -1, 1)) for s in states]
    judge = HarmJudge.of(*zip(*pairs[:6], strict=True))
    rows = [harm_verdicts.judged(judge, pairs[:6], pairs[6:])]
    rows += harm_verdicts.corrupted("places", pairs[:6], pairs[6:], judge.interface)
    assert len(rows) == 10
    assert {row["measure"] for row in rows} == {harm.measure_of(judge.config)}
    assert "measure" in harm_verdicts.KEY


@pytest.mark.parametrize("task", harm.TASKS)
def test_harm_is_measured_in_starts_that_every_style_can_reach(task):
    study = harm.study_of(task)
    assert set(study.operators) == {name for part in harm.PARTS.values() for name in part}
    given = ranges(study.env.options.get("placement", {}))
    reached = ranges(named_task(study.env.name).options().get("placement", {}))
    assert given.keys() == reached.keys()
    for name, (low, high) in given.items():
        assert reached[name][0] - 0.01 <= low < high <= reached[name][1] + 0.01


def ranges(placement):
    """Give (low, high) by names, the object's first where there are several."""
    found = {}
    for name, value in placement.items():
        inner = ranges(value) if isinstance(value, dict) else None
        found |= {(name, *k): v for k, v in inner.items()} if inner else {(name,): value}
    return found


@pytest.mark.parametrize("hand", ["robot0_eef_pos", "hand_pos"])
def test_commanded_motions_are_turned_into_places(hand):
    names = ("before", *[f"{hand}_{axis}" for axis in "xyz"])
    state, action = ArraySpec((4,), names=names), ArraySpec((5,), scale=(0.1,) * 5)
    interface = Spec("e", {"state": state}, action, period_s=0.05)
    states = np.array([[9.0, 1.0, 2.0, 3.0], [9.0, 3.0, 2.0, 3.0]])
    actions = np.array([[0.0, 1.0, 0.0, 0.5, -1.0], [0.0, 0.0, 0.0, 0.5, 1.0]])
    places = harm_verdicts.Places([(states, actions)], interface)
    ((_, found),) = places([(states, actions)])
    np.testing.assert_allclose(found, [[-1.0, 0.1, 0.0, -1.0], [1.0, 0.0, 0.0, 1.0]])
