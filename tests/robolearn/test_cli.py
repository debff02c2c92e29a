import json
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml

from demos.data.dataset import Dataset
from robolearn import __main__ as cli
from robolearn.types import ArraySpec, Spec

POINT = Spec("test/Point", {"state": ArraySpec((2,))}, ArraySpec((1,)), period_s=0.05)

BAD = [
    ("nowhere", "no launch file 'nowhere'"),
    ("toi", "no launch file 'toi'; did you mean 'toy'?"),
    ("a" * 300, "no launch file 'aaa"),
    ("show launch", "no launch file 'launch'"),
    ("show launch/bytes.yaml", "launch/bytes.yaml: cannot be read"),
    ("shwo toy", "no launch file 'shwo'; did you mean 'show'?"),
    ("empty", "launch/empty.yaml: is empty; expected 'key: value' lines\n"),
    ("show launch/tyo.yaml", "launch/tyo.yaml: no such file; did you mean 'toy'?\n"),
    ("my/zzz", "my/zzz: no such file\n"),
    ("zzz.yaml", "zzz.yaml: no such file\n"),
    ("list", "launch/list.yaml: expected 'key: value' lines"),
    ("twice", "launch/twice.yaml:2: key 'verb' stands twice"),
    ("unknown", "launch/unknown.yaml:1: unknown verb 'tow'; did you mean 'toy'?"),
    ("toy cuont=3", "'cuont=3': unknown key 'cuont'; did you mean 'count'?"),
    ("toy other.count=3", "'other.count=3': unknown key 'other'"),
    ("toy count=many", "'count=many': count should be a valid integer, not 'many'"),
    ("toy count.more=3", "'count.more=3': count has no keys of its own"),
    ("show collect_lift operators=base", "'operators=base': operators should be a list, [a, b]"),
    (
        "collect_lift operators=[]",
        "'operators=[]': operators should have 1 or more entries, not []",
    ),
    ("toy seed", "'seed': expected key=value"),
    ("toy view=on", "'view=on': view should be 'off', 'record' or 'live', not 'on'"),
    ("toy end=user", "the user can mend this"),
    ("toy resume=nowhere", "'resume=nowhere': no run there"),
    ("collect_lift env.name=robosuit/Lift", "environment 'robosuit/Lift': must be robosuite/TASK"),
    ("collect_lift env.options.robt=Panda", "'env.options.robt=Panda': robosuite/Lift: unknown"),
    ("bc_lift dataset=nowhere", "nowhere: no such file or folder"),
    ("bc_lift", "dataset: datasets/lift is not there; `robolearn collect_lift` makes it\n"),
    ("evaluate_lift", "checkpoint: none in runs/bc_lift; `robolearn bc_lift` makes one\n"),
    ("evaluate_lift checkpoint=runs/collect_lift", "checkpoint: none in runs/collect_lift\n"),
    ("evaluate_lift checkpoint=nowhere", "checkpoint: none in nowhere\n"),
    ("--hepl", "unknown option '--hepl'; did you mean '--help'?"),
    ("list all", "expected: robolearn list"),
    ("show", "expected: robolearn show LAUNCH"),
    ("show toy cuont=3", "'cuont=3': unknown key 'cuont'"),
    ("view", "expected: robolearn view RUN"),
    ("view nowhere", "nowhere"),
    ("view launch", "launch/recording.rrd: no such recording"),
    ("view launch/toy.yaml", "launch/toy.yaml: not a recording of Rerun's"),
    ("report", "expected: robolearn report DATASET"),
    ("report nowhere", "nowhere: no such file or folder"),
    ("doctor", "expected: robolearn doctor DATASET"),
    ("doctor nowhere", "nowhere: no such file or folder"),
    ("doctor nowhere --repare", "expected: robolearn doctor DATASET"),
]


@pytest.mark.parametrize(("line", "said"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(project, capsys, line, said):
    (project / "launch" / "empty.yaml").write_text("")
    (project / "launch" / "list.yaml").write_text("- verb")
    (project / "launch" / "bytes.yaml").write_bytes(b"verb: \xff")
    (project / "launch" / "twice.yaml").write_text("verb: toy\nverb: toy")
    (project / "launch" / "unknown.yaml").write_text("verb: tow")
    arguments = ["./launch/list.yaml"] if line == "list" else line.split()
    assert cli.main(arguments) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"robolearn: {said}")
    assert output.err.count("\n") == 1
    assert output.out == ""


def test_a_launch_file_is_run_and_its_summary_named(project, capsys):
    assert cli.main(["toy", "count=2"]) == 0
    output = capsys.readouterr()
    summary = Path(output.out.strip())
    assert output.err == "counted: 2\n"
    assert summary.read_text() == '{\n  "counted": 2\n}\n'


def test_a_report_is_printed_in_place_of_the_summary_then_the_paths_and_how_to_view(
    project, monkeypatch, capsys
):
    def report(config, run):
        for name in ("report.txt", "report.png", "recording.rrd"):
            run.path(name).write_text("a table\n")
        return {"counted": 2}

    monkeypatch.setattr(sys.modules["toy_room"], "toy", report)
    assert cli.main(["toy", "out=my runs/here"]) == 0
    output = capsys.readouterr()
    assert output.err == "a table\n\nrobolearn view 'my runs/here'\n"
    assert output.out == "my runs/here/report.png\nmy runs/here/summary.json\n"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.8388748419471808, "0.8389"),
        (-12.345678, "-12.35"),
        (980.512345, "980.5"),
        (12345.678, "12346"),
        (123456, "123456"),
        ([0.123456, "0.123456"], '[0.1235, "0.123456"]'),
        (1.23456e-7, "1.235e-07"),
    ],
)
def test_the_screen_shows_four_digits_and_the_summary_all(
    project, monkeypatch, capsys, value, said
):
    monkeypatch.setattr(sys.modules["toy_room"], "toy", lambda config, run: {"value": value})
    assert cli.main(["toy"]) == 0
    output = capsys.readouterr()
    assert output.err == f"value: {said}\n"
    assert json.loads(Path(output.out.strip()).read_text()) == {"value": value}


def test_show_prints_the_resolved_configuration(project, capsys):
    assert cli.main(["show", "toy", "count=2"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == {
        "verb": "toy", "seed": 0, "out": None, "resume": None, "label": None, "view": "off",
        "threads": 1, "count": 2, "end": "well", "workers": 1,
    }  # fmt: skip


def test_list_names_every_launch_file_with_its_description(project, capsys):
    assert cli.main(["list"]) == 0
    assert re.search(r"^toy +Counts to three\.$", capsys.readouterr().out, re.MULTILINE)


def test_list_passes_over_what_cannot_be_read(project, capsys):
    (project / "launch" / "bytes.yaml").write_bytes(b"verb: \xff")
    (project / "launch" / "folder.yaml").mkdir()
    (project / "launch" / "gone.yaml").symlink_to("nowhere")
    assert cli.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"^bytes +\(cannot be read\)$", listed, re.MULTILINE)
    assert not re.search("^(folder|gone)", listed, re.MULTILINE)


@pytest.mark.parametrize("line", ["list", "show toy", "toy"])
def test_a_current_folder_that_is_gone_is_one_line(project, monkeypatch, capsys, line):
    gone = project / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert cli.main(line.split()) == 2
    assert capsys.readouterr().err.startswith("robolearn: the current folder is gone")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help(arguments, capsys):
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.startswith("usage: robolearn LAUNCH")


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert re.fullmatch(r"robolearn \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_ctrl_c_is_a_message_and_exit_code_130(project, capsys):
    assert cli.main(["toy", "end=interrupted", "out=here"]) == 130
    assert capsys.readouterr().err == (
        "robolearn: interrupted; what was finished is kept; "
        "go on with: robolearn here/config.yaml resume=here\n"
    )
    assert cli.main(["here/config.yaml", "resume=here"]) == 130


def test_warnings_are_one_line(monkeypatch, capsys):
    def warn(rest):
        warnings.warn("mind this", stacklevel=1)
        return 0

    monkeypatch.setitem(cli.COMMANDS, "list", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *of: sys.stderr.write(warnings.formatwarning(*of[:4]))
        assert cli.main(["list"]) == 0
    assert capsys.readouterr().err == "robolearn: warning: mind this\n"


def test_a_bug_is_loud(project):
    with pytest.raises(RuntimeError, match="nobody expected this"):
        cli.main(["toy", "end=bug"])


INTERRUPTED = """
import sys, types, dataclasses, time
from robolearn.running import registry
from robolearn.__main__ import main

def wait(config, run):
    run.log(0, x=1.0)
    print("waiting", flush=True)
    time.sleep(60)

room = types.ModuleType("room")
room.Config, room.wait = dataclasses.make_dataclass("Config", [], frozen=True), wait
sys.modules["room"] = room
registry.VERBS["wait"] = registry.Verb("room:Config", "room:wait")
sys.exit(main(["wait.yaml", "out=here"]))
"""


def test_a_real_ctrl_c_ends_a_run_cleanly(tmp_path):
    (tmp_path / "wait.yaml").write_text("verb: wait")
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "robolearn: interrupted; what was finished is kept\n"
    assert (tmp_path / "here" / "metrics.jsonl").read_text().count("\n") == 1


PRINTS = """
import sys
from robolearn import __main__ as cli

def much(rest):
    for i in range(100_000):
        print("line", i)
    return 0

cli.COMMANDS["much"] = much
sys.exit(cli.main(sys.argv[1:]))
"""


def start(line, cwd, **streams):
    """Start the command line in a process, with a word more: ``much`` prints many lines."""
    return subprocess.Popen([sys.executable, "-c", PRINTS, *line.split()], cwd=cwd, **streams)


def to_nobody(line, cwd, stream="stdout"):
    """Run a line whose ``stream`` is a pipe that nobody reads; give its code and the other one."""
    reader, writer = os.pipe()
    os.close(reader)
    other = "stderr" if stream == "stdout" else "stdout"
    with os.fdopen(writer, "wb") as pipe:
        process = start(line, cwd, **{stream: pipe, other: subprocess.PIPE})
    said = process.communicate(timeout=60)
    return process.returncode, said[stream == "stdout"]


@pytest.mark.parametrize(
    "line", ["list", "show collect_lift", "doctor dataset", "--help", "--version", "much"]
)
def test_a_reader_that_is_gone_ends_a_command_quietly(tmp_path, line):
    Dataset.create(tmp_path / "dataset", POINT)
    assert to_nobody(line, tmp_path) == (cli.READER_GONE, b"")


def test_a_reader_that_leaves_ends_a_command_quietly(tmp_path):
    process = start("much", tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"line 0\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 141


def test_an_error_that_nobody_reads_is_no_other_error(tmp_path):
    assert to_nobody("nowhere", tmp_path, "stderr") == (cli.READER_GONE, b"")


def test_a_run_whose_last_lines_nobody_reads_is_whole(lab):
    code, said = to_nobody("reach trials=2 out=here", lab)
    assert code == cli.READER_GONE
    assert re.fullmatch(r"best: -\d+\.\d+\n", said.decode())
    assert (lab / "here" / "summary.json").is_file()


def test_output_to_a_full_disk_is_one_line(tmp_path):
    with open("/dev/full", "wb") as full:
        process = start("--help", tmp_path, stdout=full, stderr=subprocess.PIPE)
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 2
    assert said == "robolearn: the output cannot be written: No space left on device\n"


def test_a_broken_pipe_of_something_else_is_loud(monkeypatch):
    def burst(rest):
        raise BrokenPipeError

    monkeypatch.setitem(cli.COMMANDS, "list", burst)
    with pytest.raises(BrokenPipeError):
        cli.main(["list"])


FRUGAL = """
import sys
from robolearn.__main__ import main

for line in sys.argv[1:]:
    assert main(line.split()) == 0
heavy = {"torch", "mujoco", "robosuite", "dm_control", "rerun", "numba"} & set(sys.modules)
assert not heavy, heavy
"""


def test_the_command_lines_own_words_import_nothing_heavy():
    lines = ["--help", "--version", "list", "show collect_lift"]
    subprocess.run([sys.executable, "-c", FRUGAL, *lines], check=True, capture_output=True)
