"""Names of a user's own: from the current folder, and published by installed packages."""

import subprocess
import sys

import pytest

from robolearn.__main__ import main
from robolearn.errors import UserError
from robolearn.names import VERBS, installed, load, load_own, published


def test_our_own_names_are_loaded():
    assert load("robolearn.names:load") is load


def test_a_name_is_loaded_from_the_current_folder_which_comes_last(lab):
    (lab / "json.py").write_text("dumps = 'hides the real one'")
    assert load_own("my_lab.envs:make_bead", "here").__module__ == "my_lab.envs"
    assert sys.path[-1] == str(lab)
    assert callable(load_own("json:dumps", "here"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_lab.reach", "'my_lab.reach' must be module:attribute, such as my_lab.reach:run"),
        ("my_lab.reach:", "'my_lab.reach:' must be module:attribute"),
        (":run", "':run' must be module:attribute"),
        ("my_lab/reach.py:run", "'my_lab/reach.py:run' must be module:attribute"),
        (".reach:run", "'.reach:run' must be module:attribute"),
        ("my_lab.reach:run:run", "'my_lab.reach:run:run' must be module:attribute"),
        ("my_lba.reach:run", "no module 'my_lba' here or installed; did you mean 'my_lab'?"),
        ("raech:run", "no module 'raech' here or installed; known: my_lab"),
        (
            "my_lab.raech:run",
            "no module 'my_lab.raech' here or installed; did you mean 'my_lab.reach'?",
        ),
        ("my_lab.envs.deep:run", "no module 'my_lab.envs.deep' here or installed"),
        ("my_lab.reach:rnu", "no 'rnu' in my_lab.reach; did you mean 'run'?"),
        ("my_lab.method:Spring.atc", "no 'atc' in Spring; did you mean 'act'?"),
        ("my_lab.method:Spring.", "'my_lab.method:Spring.' must be module:attribute"),
        ("my_lab.operators:x", "no 'x' in my_lab.operators; known: Pusher, make_pusher"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(lab, name, said):
    with pytest.raises(UserError) as caught:
        load_own(name, "here")
    assert str(caught.value).startswith(f"here: {said}")


def test_a_module_that_a_users_own_code_misses_is_one_line(lab):
    missing = "needs module 'a_module_that_nobody_has', which is not installed"
    (lab / "through.py").write_text("import my_lab.needy")
    (lab / "by_name.py").write_text("import importlib; importlib.import_module('my_lab.needy')")
    (lab / "late.py").write_text("import importlib; importlib.import_module('none')")
    for name in ("my_lab.needy:run", "through:run", "by_name:run"):
        with pytest.raises(UserError) as caught:
            load_own(name, "here")
        assert str(caught.value) == f"here: my_lab/needy.py {missing}"
    with pytest.raises(UserError, match=r"^here: late.py needs module 'none', which is not"):
        load_own("late:run", "here")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("1 / 0", ZeroDivisionError),
        ("from json import dmups", ImportError),
        ("raise ModuleNotFoundError('of their own')", ModuleNotFoundError),
    ],
)
def test_what_a_users_own_code_raises_comes_out_as_it_is(lab, code, error):
    (lab / "wrong.py").write_text(code)
    with pytest.raises(error):
        load_own("wrong:run", "here")


def test_installed_packages_publish_names(installed_lab):
    assert installed(VERBS) == {"reach": ["my_lab.reach:run"]}
    assert published("reach", VERBS, "here") == "my_lab.reach:run"
    assert published("raech", VERBS, "here") is None


def test_packages_that_disagree_are_told_apart(installed_lab, site, dist_info):
    dist_info(site, "their_lab", "[robolearn.verbs]\nreach = their_lab:run\n")
    with pytest.raises(UserError) as caught:
        published("reach", VERBS, "here")
    said = str(caught.value)
    assert said.startswith("here: packages disagree on 'reach'; write ")
    assert {"my_lab.reach:run", "their_lab:run"} <= set(said.split())


@pytest.mark.parametrize("found_by", ["", "."])
def test_what_lies_in_the_current_folder_publishes_nothing(
    installed_lab, dist_info, monkeypatch, found_by
):
    monkeypatch.setattr(sys, "path", [found_by, *sys.path, str(installed_lab)])
    dist_info(installed_lab, "planted", "[robolearn.verbs]\nplanted = planted:run\n")
    dist_info(installed_lab, "my_lab", "[robolearn.verbs]\nreach = planted:run\n")
    assert installed(VERBS) == {"reach": ["my_lab.reach:run"]}


def test_installed_packages_are_known_where_the_current_folder_is_gone(
    installed_lab, tmp_path, monkeypatch
):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    gone.rmdir()
    assert installed(VERBS) == {"reach": ["my_lab.reach:run"]}


def test_of_a_package_that_is_found_twice_the_first_counts(
    installed_lab, dist_info, tmp_path_factory
):
    later = tmp_path_factory.mktemp("later")
    sys.path.append(str(later))
    dist_info(later, "my_lab", "[robolearn.verbs]\nreach = my_lab.older:run\n")
    assert installed(VERBS) == {"reach": ["my_lab.reach:run"]}


@pytest.mark.parametrize("value", ["my_lab.method:Spring.act", "my_lab.method : Spring.act [all]"])
def test_an_entry_point_may_have_dots_and_extras(lab, site, dist_info, value):
    dist_info(site, "their_lab", f"[robolearn.verbs]\nact = {value}\n")
    name = published("act", VERBS, "here")
    assert name == "my_lab.method:Spring.act"
    assert load_own(name, "here").__qualname__ == "Spring.act"


@pytest.mark.parametrize("value", ["my_lab.reach", "my lab:run"])
def test_an_entry_point_that_names_no_attribute_is_one_line(lab, site, dist_info, value):
    dist_info(site, "their_lab", f"[robolearn.verbs]\nbad = {value}\n")
    with pytest.raises(UserError, match=f"'{value}' must be module:attribute"):
        load_own(published("bad", VERBS, "here"), "here")


def command(*words, console_script=False):
    """Call the command line; a console script's ``sys.path`` lacks the current folder."""
    script = ["-P", "-c", "import sys; from robolearn.__main__ import main; sys.exit(main())"]
    how = script if console_script else ["-m", "robolearn"]
    return subprocess.run([sys.executable, *how, *words], capture_output=True, text=True)


def test_a_verb_of_ones_own_runs_from_its_folder(lab):
    done = command("reach", "out=run", "env.options.start=0.5", console_script=True)
    assert done.returncode == 0, done.stderr
    assert (lab / "run" / "summary.json").exists()


def test_an_installed_package_is_used_by_its_names_alone(installed_lab):
    done = command("reach", "verb=reach", "env.name=bead", "out=run")
    assert done.returncode == 0, done.stderr
    episodes = ("evaluation.episodes=2", "evaluation.horizon=30")
    assert main(["evaluate_lift", "checkpoint=run", "env={name: bead}", *episodes]) == 0


def test_list_names_what_installed_packages_add(installed_lab):
    done = command("list")
    launch_files, verbs, environments, learners, own = done.stdout.split("\n\n")
    assert "ppo_walker" in launch_files
    assert verbs == "Verbs of installed packages:\nreach  my_lab.reach:run"
    assert environments == "Environments of installed packages:\nbead  my_lab.envs:make_bead"
    assert learners == "Learners of installed packages:\nspring  my_lab.method:Spring"
    assert "module:function" in own
    assert done.stderr == ""
