import contextlib
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.algos.detection import DetectionConfig, Guarded
from robolearn.errors import DataError, SpecError
from robolearn.loops import checkpoint
from robolearn.loops.offline import OfflineConfig, offline
from robolearn.loops.on_policy import Progress
from robolearn.names import load_own
from robolearn.types import ArraySpec, Spec

SPEC = Spec(
    "test/Point",
    {"state": ArraySpec((3,), names=("x", "y", "z"))},
    ArraySpec((2,), names=("dx", "dy")),
    period_s=0.05,
    robot="Panda",
)
POINT = Spec("test/Bead", {"state": ArraySpec((2,))}, ArraySpec((1,)), period_s=0.1)
SMALL = BCConfig(members=2, widths=(8, 4), dropout=0.3)


def data():
    rng = np.random.default_rng(0)
    return {
        "observations": {"state": rng.normal(size=(120, 3)).astype(np.float32)},
        "actions": rng.uniform(-1, 1, (120, 2)).astype(np.float32),
        "episode": np.repeat(np.arange(6), 20),
    }


def trained(epochs=3, **kwargs):
    learner = BehaviorCloning(SPEC, SMALL, seed=1)
    offline(learner, data(), OfflineConfig(epochs=epochs, batch_size=16), seed=0, **kwargs)
    return learner


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_round_trip_is_bit_equal(tmp_path):
    learner = trained()
    checkpoint.save(tmp_path / "policy", learner)
    loaded = checkpoint.load_policy(tmp_path / "policy", SPEC)
    assert_equal(learner.state_dict(), loaded.state_dict())
    assert loaded.config == SMALL and loaded.interface == SPEC
    state = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(learner.act({"state": state}), loaded.act({"state": state}))


def test_it_holds_the_documented_files_and_nothing_that_runs(tmp_path):
    checkpoint.save(tmp_path / "policy", trained(), counters={"epoch": 3})
    files = {str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*") if f.is_file()}
    assert files == {
        "policy/config.yaml",
        "policy/spec.json",
        "policy/weights.safetensors",
        "policy/training/state.safetensors",
        "policy/training/counters.json",
    }


def test_training_goes_on_as_if_never_interrupted(tmp_path):
    class Interrupted(Exception):
        pass

    learner = BehaviorCloning(SPEC, SMALL, seed=1)

    def stop_after_two(epoch, info):
        if epoch == 1:
            checkpoint.save(tmp_path / "policy", learner, {"epoch": 2})
            raise Interrupted

    with pytest.raises(Interrupted):
        config = OfflineConfig(epochs=5, batch_size=16)
        offline(learner, data(), config, seed=0, on_epoch=stop_after_two)
    restored = checkpoint.load_learner(tmp_path / "policy", SPEC)
    first = restored.counters["epoch"]
    offline(restored.learner, data(), config, seed=0, first_epoch=first)
    assert_equal(restored.learner.state_dict(), trained(epochs=5).state_dict())


def test_a_misfit_is_reported_before_any_weight_is_read(tmp_path):
    checkpoint.save(tmp_path / "policy", trained())
    (tmp_path / "policy" / "weights.safetensors").unlink()
    other = Spec("test/Other", {"state": ArraySpec((4,))}, ArraySpec((2,)), 0.05, robot="UR5e")
    with pytest.raises(SpecError, match=r"state has shape \(4,\) instead of \(3,\).*UR5e"):
        checkpoint.load_policy(tmp_path / "policy", other)


def test_it_is_found_from_within_its_folder(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "policy", trained())
    monkeypatch.chdir(tmp_path / "policy")
    assert checkpoint.newest(Path()) == Path() and checkpoint.exists(".")
    monkeypatch.chdir(tmp_path)
    assert not checkpoint.exists(".") and not checkpoint.exists("/")


def test_an_older_checkpoint_is_replaced_and_survives_a_crash_in_between(tmp_path):
    path = tmp_path / "policy"
    first, second = trained(1), trained(2)
    checkpoint.save(path, first)
    checkpoint.save(path, second)
    assert_equal(checkpoint.load_policy(path, SPEC).state_dict(), second.state_dict())
    assert [p.name for p in tmp_path.iterdir()] == ["policy"]
    path.rename(tmp_path / "policy.previous")  # killed before the new one was in its place
    assert checkpoint.exists(path) and not checkpoint.exists(tmp_path / "other")
    assert_equal(checkpoint.load_policy(path, SPEC).state_dict(), second.state_dict())
    checkpoint.save(path, first)
    assert_equal(checkpoint.load_policy(path, SPEC).state_dict(), first.state_dict())


def guarded():
    policy = trained()
    learner = Guarded(SPEC, DetectionConfig(widths=(4,), horizon=2, still=(0.5, -0.5)), policy)
    learner.detector.line.fill_(3.0)
    return learner


def test_a_learner_with_another_one_in_it_is_kept_with_it(tmp_path):
    checkpoint.save(tmp_path / "policy", guarded())
    again = checkpoint.load_policy(tmp_path / "policy", SPEC)
    assert again.config == guarded().config and again.detector.line == 3.0
    assert_equal(again.state_dict(), guarded().state_dict())
    assert_equal(again.policy.state_dict(), trained().state_dict())
    other = Spec("test/Other", {"state": ArraySpec((4,))}, ArraySpec((2,)), 0.05)
    with pytest.raises(SpecError, match=r"state has shape \(4,\) instead of \(3,\)"):
        checkpoint.load_policy(tmp_path / "policy", other)
    (tmp_path / "policy/policy").rename(tmp_path / "inner")
    with pytest.raises(DataError, match="'guarded' needs a policy/"):
        checkpoint.load_policy(tmp_path / "policy", SPEC)
    checkpoint.save(tmp_path / "inner/policy", trained())
    with pytest.raises(DataError, match="'bc' has no policy/"):
        checkpoint.load_policy(tmp_path / "inner", SPEC)


def damage_weights(path):
    file = path / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def changed(file, change):
    """Give what changes the tensors in a file of a checkpoint."""
    from safetensors.torch import load_file, save_file

    def spoil(path):
        tensors = load_file(path / file)
        change(tensors)
        save_file(tensors, path / file)

    return spoil


drop_a_weight = changed("weights.safetensors", lambda tensors: tensors.pop("normaliser.mean"))


def configured(config):
    """Give what writes another configuration."""
    return lambda path: (path / "config.yaml").write_text(f"learner: bc\nconfig: {config}")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damage_weights, "weights.safetensors.*damaged"),
        (drop_a_weight, "weights are of another network"),
        (lambda p: (p / "weights.safetensors").unlink(), "weights.safetensors.*missing"),
        (lambda p: (p / "spec.json").write_text("{"), "spec.json.*damaged"),
        (lambda p: (p / "config.yaml").write_text("[1"), "config.yaml.*damaged"),
        (lambda p: (p / "config.yaml").write_text("learner: bcc\nconfig: {}"), "mean 'bc'"),
        (lambda p: (p / "config.yaml").write_text("learner: bc\nconfig: {wid: 1}"), "not a conf"),
        (lambda p: (p / "config.yaml").write_bytes(b"\xff"), "config.yaml.*damaged"),
        (lambda p: (p / "spec.json").write_bytes(b"\xff"), "spec.json.*damaged"),
        (lambda p: (p / "config.yaml").unlink(), "no checkpoint here"),
        (configured("{members: 0}"), "not a configuration of 'bc': members should be greater"),
        (configured("{dropout: " + "9" * 5000 + "}"), "config.yaml: damaged"),
        (configured("[" * 3000), "config.yaml: damaged"),
        (configured("&a [*a]"), "config.yaml: damaged"),
        (lambda p: (p / "spec.json").write_text("[" * 100_000), "spec.json: damaged"),
        (lambda p: (p / "spec.json").write_text('{"observations": []}'), "spec.json: damaged"),
    ],
)
def test_a_damaged_checkpoint_is_a_one_line_error(tmp_path, spoil, words):
    checkpoint.save(tmp_path / "policy", trained(1))
    spoil(tmp_path / "policy")
    with pytest.raises(DataError, match=words) as caught:
        checkpoint.load_policy(tmp_path / "policy", SPEC)
    assert "\n" not in str(caught.value)


def spring(lab):
    """Save a learner of one's own, and give it."""
    make, config = (load_own(f"my_lab.method:{name}", "") for name in ("Spring", "SpringConfig"))
    learner = make(POINT, config(spread=2.0), seed=3)
    learner.update({"reward": 1.0})
    checkpoint.save(lab / "spring", learner, {"trials": 1})
    return learner


def test_a_learner_of_ones_own_is_read_where_its_class_is_given(lab):
    saved = spring(lab)
    restored = checkpoint.load_learner(lab / "spring", POINT, own=[type(saved)])
    assert restored.counters == {"trials": 1}
    assert restored.learner.config == saved.config
    assert restored.learner.best == 1.0
    np.testing.assert_array_equal(restored.learner.gains, saved.gains)


def test_a_learner_that_an_installed_package_publishes_is_read(installed_lab):
    saved = spring(installed_lab)
    restored = checkpoint.load_policy(installed_lab / "spring", POINT)
    np.testing.assert_array_equal(restored.gains, saved.gains)


@pytest.mark.parametrize("named", ["spring", "my_lab.method:Spring", "os:system", "[1]"])
def test_a_checkpoint_alone_has_nothing_imported(lab, dist_info, named):
    spring(lab)  # which puts the current folder on sys.path
    dist_info(lab, "planted", "[robolearn.learners]\nspring = my_lab.method:Spring\n")
    for name in [name for name in sys.modules if name.startswith("my_lab")]:
        del sys.modules[name]
    (lab / "spring" / "config.yaml").write_text(f"learner: {named}\nconfig: {{}}")
    with pytest.raises(DataError, match="unknown learner"):
        checkpoint.load_policy(lab / "spring", POINT)
    assert "my_lab.method" not in sys.modules


@pytest.mark.parametrize(
    "content", ['{"epoch": ', "[]", "3", "null", '{"epoch": ' + "9" * 5000 + "}", "[" * 100_000]
)
def test_damaged_counters_are_a_one_line_error(tmp_path, content):
    checkpoint.save(tmp_path / "policy", trained(1), {"epoch": 1})
    (tmp_path / "policy" / "training" / "counters.json").write_text(content)
    with pytest.raises(DataError, match="counters.json: damaged") as caught:
        checkpoint.load_learner(tmp_path / "policy", SPEC)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("noise"), "it lacks noise"),
        (lambda tensors: tensors.update(noise=torch.zeros(3)), "RNG state"),
        (lambda tensors: tensors.update({"optimiser/0": torch.zeros(3)}), "not enough values"),
        (lambda tensors: tensors.pop("optimiser/0/exp_avg"), "it lacks optimiser/0/exp_avg"),
        (
            lambda tensors: tensors.update({"optimiser/0/exp_avg": torch.zeros(3)}),
            "of another network: entry 0",
        ),
        (
            lambda tensors: tensors.update({"optimiser/99/step": torch.zeros(3)}),
            "of another network: entry 99",
        ),
    ],
)
def test_a_damaged_training_state_is_a_one_line_error(tmp_path, change, said):
    checkpoint.save(tmp_path / "policy", trained(1), {"epoch": 1})
    changed("training/state.safetensors", change)(tmp_path / "policy")
    with pytest.raises(DataError, match=f"state.safetensors: damaged: .*{said}") as caught:
        checkpoint.load_learner(tmp_path / "policy", SPEC)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("counters", "said"),
    [
        ({}, "updates: Field required"),
        ({"updates": 1}, "states: Field required"),
        ({"updates": "x"}, "updates: should be a valid integer, not 'x'"),
    ],
)
def test_counters_of_another_kind_are_a_one_line_error(counters, said):
    with pytest.raises(DataError) as caught:
        checkpoint.checked(Progress, counters, "run/checkpoint")
    assert str(caught.value).startswith(f"run/checkpoint/training/counters.json: damaged: {said}")


class Cautious(BehaviorCloning):
    """A learner of one's own, under the name of ours."""


def test_a_class_that_is_given_goes_before_ours_of_that_name(tmp_path):
    checkpoint.save(tmp_path / "policy", trained(1))
    assert type(checkpoint.load_policy(tmp_path / "policy", SPEC, own=[Cautious])) is Cautious
    assert type(checkpoint.load_policy(tmp_path / "policy", SPEC)) is BehaviorCloning


def test_a_learner_of_an_installed_package_does_not_go_before_ours(tmp_path, lab, site, dist_info):
    dist_info(site, "my_lab", "[robolearn.learners]\nbc = my_lab.method:Spring\n")
    checkpoint.save(tmp_path / "policy", trained(1))
    assert type(checkpoint.load_policy(tmp_path / "policy", SPEC)) is BehaviorCloning


def test_one_without_training_state_cannot_continue(tmp_path):
    checkpoint.save(tmp_path / "policy", trained(1))
    with pytest.raises(DataError, match="cannot continue"):
        checkpoint.load_learner(tmp_path / "policy", SPEC)


@contextlib.contextmanager
def file_size_limit(size):
    """Let no file grow beyond ``size`` bytes, as on a full disk (Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path):
    path = tmp_path / "policy"
    first, second = trained(1), trained(2)
    checkpoint.save(path, first)
    with (
        file_size_limit(900),
        pytest.raises(DataError, match="policy: the checkpoint cannot be written") as caught,
    ):
        checkpoint.save(path, second)
    assert "\n" not in str(caught.value)
    assert_equal(checkpoint.load_policy(path, SPEC).state_dict(), first.state_dict())
    assert [p.name for p in tmp_path.iterdir()] == ["policy"]


def test_a_learner_that_is_there_goes_on_and_keeps_what_no_configuration_tells(tmp_path):
    checkpoint.save(tmp_path / "policy", trained(), {"epoch": 3})
    learner = BehaviorCloning(SPEC, SMALL, seed=7)
    learner.of_its_own = "kept"
    assert checkpoint.go_on(tmp_path / "policy", learner) == {"epoch": 3}
    restored = checkpoint.load_learner(tmp_path / "policy", SPEC).learner
    assert_equal(learner.state_dict(), restored.state_dict())
    assert_equal(learner.training_state(), restored.training_state())
    assert learner.of_its_own == "kept"
    learner.name = "another"
    with pytest.raises(DataError, match="holds 'bc', not 'another'"):
        checkpoint.go_on(tmp_path / "policy", learner)
