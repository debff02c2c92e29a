import json
import subprocess
from pathlib import Path

import pytest
import yaml

from robolearn.errors import UserError
from robolearn.names import load
from robolearn.running import launch, run
from robolearn.running.registry import VERBS

SHIPPED = sorted((Path(launch.__file__).resolve().parents[2] / "launch").glob("*.yaml"))


def execute(name: str, *overrides: str) -> Path:
    return launch.execute(launch.read(launch.find(name), overrides))


def lines(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_a_launch_file_is_found_as_given_then_in_launch_then_in_the_package(project):
    assert launch.find("toy") == Path("launch/toy.yaml")
    assert launch.find("toy.yaml") == Path("launch/toy.yaml")
    assert launch.find(str(project / "launch" / "toy.yaml")).is_absolute()
    (project / "toy").write_text("verb: toy")
    assert launch.find("toy") == Path("toy")
    assert launch.find("bc_lift").parent == Path(launch.__file__).resolve().parents[2] / "launch"
    with pytest.raises(UserError, match="no launch file 'tow'; did you mean 'toy'"):
        launch.find("tow")


def test_all_launch_files_are_listed_with_their_first_comment(project):
    files = launch.launch_files()
    assert {"toy", "bc_lift"} <= set(files)
    assert launch.description(files["toy"]) == "Counts to three."


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_launch_file_that_comes_along_is_right(path):
    assert launch.description(path)
    found = launch.read(path)
    assert yaml.safe_load(json.dumps(found.settings())) == found.settings()  # plain values


def test_no_verb_takes_a_common_key_for_itself():
    common = {f for f in launch.Common.__dataclass_fields__}
    for verb in VERBS.values():
        assert not common & set(load(verb.config).__dataclass_fields__)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("count: 3", "x.yaml: missing key 'verb'"),
        ("verb: tow\ncount: 3", "x.yaml:1: unknown verb 'tow'; did you mean 'toy'?"),
        ("verb: toy\ncuont: 3", "x.yaml:2: unknown key 'cuont'; did you mean 'count'?"),
        ("verb: toy\ncount: 3\nsede: 3", "x.yaml:3: unknown key 'sede'; did you mean 'seed'?"),
        ("verb: toy\ncount: 3\nseed: -1", "x.yaml:3: seed should be greater than or equal to 0"),
        (
            "verb: toy\ncount: 3\nthreads: 0",
            "x.yaml:3: threads should be greater than or equal to 1",
        ),
        (
            "verb: toy\ncount: 3\nthreads: 9999",
            "x.yaml:3: threads should be less than or equal to 1024",
        ),
        ("verb: toy", "x.yaml: missing key 'count'"),
        ("verb: collect\nresume: x", "x.yaml:2: 'collect' cannot be resumed"),
        ("verb: toy\nresume: x\nout: y", "x.yaml:2: goes on in its own directory, without out="),
    ],
)
def test_faults_are_said_with_their_place(project, text, said):
    Path("x.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        launch.read(Path("x.yaml"))
    assert str(caught.value).startswith(said)


def test_a_run_leaves_its_configuration_metrics_and_summary(project):
    directory = execute("toy", "seed=7", "count=2")
    assert directory.parent == Path("runs/toy")
    assert directory.name.endswith("-7")
    assert {path.name for path in directory.iterdir()} == {
        "config.yaml", "metrics.jsonl", "summary.json",
    }  # fmt: skip
    assert [(line["step"], line["seed"], line["loss"]) for line in lines(directory)] == [
        (0, 7, None),
        (1, 7, None),
    ]
    assert json.loads((directory / "summary.json").read_text()) == {"counted": 2}
    config = yaml.safe_load((directory / "config.yaml").read_text())
    assert (config["verb"], config["seed"], config["count"]) == ("toy", 7, 2)
    assert config["provenance"]["versions"]["torch"].startswith("2.")


def test_the_configuration_says_which_commit_ran(project):
    source = Path(launch.__file__).resolve().parents[2]
    if not (source / ".git").exists():
        pytest.skip("the source is no checkout")
    command = ["git", "-C", str(source), "rev-parse", "HEAD"]
    head = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    provenance = yaml.safe_load((execute("toy") / "config.yaml").read_text())["provenance"]
    assert provenance["commit"] == head
    assert isinstance(provenance["dirty"], bool)


def test_what_benchmarks_add_is_no_change_of_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "__file__", str(tmp_path / "robolearn" / "running" / "run.py"))
    assert run.provenance()["commit"] is None
    for name in ("robolearn/run.py", "benchmarks/results/rows.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1\n")
    identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *identity, *command], check=True)
    (tmp_path / "benchmarks/results/rows.jsonl").write_text("1\n2\n")
    (tmp_path / "benchmarks/results/new.json").write_text("{}\n")
    assert run.provenance()["dirty"] is False
    (tmp_path / "robolearn/run.py").write_text("2\n")
    assert run.provenance()["dirty"] is True


def test_the_configuration_of_a_run_is_a_launch_file(project):
    first = execute("toy", "seed=7", "count=2", "out=first")
    again = execute(str(first / "config.yaml"), "out=again")
    assert launch.read(first / "config.yaml").settings() == (
        launch.read(again / "config.yaml").settings()
    )
    assert (again / "summary.json").read_text() == (first / "summary.json").read_text()


def test_two_runs_never_share_a_directory(project):
    assert execute("toy") != execute("toy")
    execute("toy", "out=here")
    with pytest.raises(UserError, match="'out=here': holds a run already"):
        execute("toy", "out=here")
    Path("file").write_text("")
    with pytest.raises(UserError, match="file: cannot write run .Not a directory"):
        execute("toy", "out=file/run")


@pytest.mark.parametrize("end", ["interrupted", "user", "bug"])
def test_a_run_that_breaks_off_keeps_its_metrics_and_has_no_summary(project, end):
    with pytest.raises((KeyboardInterrupt, UserError, RuntimeError)):
        execute("toy", f"end={end}", "out=here")
    assert len(lines(Path("here"))) == 3
    assert not Path("here/summary.json").exists()


def test_a_run_that_fails_before_it_did_anything_leaves_nothing(project):
    with pytest.raises(UserError):
        execute("toy", "count=0", "end=user", "out=here")
    assert not Path("here").exists()


def test_a_stopped_run_goes_on_in_its_directory(project):
    with pytest.raises(KeyboardInterrupt):
        execute("toy", "end=interrupted", "out=here")
    kept = Path("here/config.yaml").read_text()
    with pytest.raises(KeyboardInterrupt):
        execute("here/config.yaml", "resume=here", "view=off", "threads=2", "workers=3")
    assert [line["step"] for line in lines(Path("here"))] == [0, 1, 2]
    assert Path("here/config.yaml").read_text() == kept


def test_a_run_goes_on_that_is_older_than_a_setting(project):
    with pytest.raises(KeyboardInterrupt):
        execute("toy", "end=interrupted", "out=here")
    config = Path("here/config.yaml")
    config.write_text(config.read_text().replace("end: interrupted\n", ""))  # now "well", if asked
    with pytest.raises(KeyboardInterrupt):
        execute("toy", "end=interrupted", "resume=here")
    with pytest.raises(UserError, match="that run has count=3, not 4"):
        execute("toy", "end=interrupted", "count=4", "resume=here")


def test_what_a_full_disk_has_left_of_a_line_is_forgotten(project):
    with pytest.raises(KeyboardInterrupt):
        execute("toy", "end=interrupted", "count=3", "out=here")
    log = Path("here/metrics.jsonl")
    log.write_bytes(log.read_bytes()[:-5])
    with pytest.raises(KeyboardInterrupt):
        execute("here/config.yaml", "resume=here")
    assert [line["step"] for line in lines(Path("here"))] == [0, 1, 2]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["resume=nowhere"], "'resume=nowhere': no run there"),
        (["resume=ended"], "'resume=ended': that run has ended"),
        (["resume=stopped", "seed=1"], "'resume=stopped': that run has seed=0, not 1"),
        (["resume=stopped", "count=4"], "'resume=stopped': that run has count=3, not 4"),
    ],
)
def test_what_cannot_be_resumed(project, overrides, said):
    execute("toy", "out=ended")
    with pytest.raises(KeyboardInterrupt):
        execute("toy", "end=interrupted", "out=stopped")
    with pytest.raises(UserError) as caught:
        execute("toy", "end=interrupted", *overrides)
    assert str(caught.value).startswith(said)
