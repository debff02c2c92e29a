"""Verbs by name: ours, those that installed packages publish, and one's own."""

import json
from pathlib import Path

import pytest

from robolearn.__main__ import main
from robolearn.errors import UserError
from robolearn.running import launch, registry

SETTINGS = "must be a frozen dataclass that derives from robolearn.settings.Settings"


def test_a_function_of_ones_own_says_what_configures_it(lab):
    verb = registry.verb("my_lab.reach:run", "here")
    assert verb.load_config().__name__ == "ReachConfig"
    assert verb.load_function().__name__ == "run"
    assert not verb.resumable


def test_a_verb_of_ones_own_may_name_its_parts(lab):
    verb = registry.verb("my_lab.reach:by_name", "here")
    assert verb.load_config().__name__ == "ReachConfig"
    assert verb.load_function().__name__ == "run"


def test_an_installed_package_publishes_a_verb(installed_lab):
    verb = registry.verb("reach", "here")
    assert verb == registry.verb("my_lab.reach:run", "here")
    with pytest.raises(UserError, match="here: unknown verb 'raech'; did you mean 'reach'?"):
        registry.verb("raech", "here")


def test_our_own_verbs_come_first(lab, site, dist_info):
    dist_info(site, "my_lab", "[robolearn.verbs]\nppo = my_lab.reach:run\n")
    assert registry.verb("ppo", "here") is registry.VERBS["ppo"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_lab.reach", "here: 'my_lab.reach' must be module:attribute"),
        ("my_lab.reach:rnu", "here: no 'rnu' in my_lab.reach; did you mean 'run'?"),
        ("my_lab.reach:ReachConfig", "must be a function, run(config, run), or a Verb"),
        ("my_lab.operators:not_a_maker", "must be a function, run(config, run), or a Verb"),
        ("my_lab.reach:by_wrong_name", "no 'rnu' in my_lab.reach; did you mean 'run'?"),
        ("my_lab.reach:unannotated", "needs a parameter 'config' with the class of its settings"),
        ("my_lab.reach:nameless", "needs a parameter 'config' with the class of its settings"),
        ("builtins:max", "needs a parameter 'config' with the class of its settings"),
        ("my_lab.reach:unknown", "config: name 'Nowhere' is not defined"),
        ("my_lab.reach:beside", "config: type object 'ReachConfig' has no attribute 'nothing'"),
        ("my_lab.reach:half", "config: Forward reference must be an expression -- got '1 +'"),
        ("my_lab.reach:without_function", "its function, 3, cannot be called"),
        ("my_lab.reach:loose", f"its settings, Loose, {SETTINGS}"),
        ("my_lab.reach:plain", f"its settings, Plain, {SETTINGS}"),
        ("my_lab.reach:mapped", f"its settings, dict, {SETTINGS}"),
    ],
)
def test_what_is_no_verb_is_one_line(lab, name, said):
    with pytest.raises(UserError) as caught:
        registry.verb(name, "here")
    assert str(caught.value).startswith("here: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["trials=0"], "'trials=0': trials should be greater than 0, not 0"),
        (["spring.spred=1"], "'spring.spred=1': unknown key 'spring.spred'; did you mean 'spread'"),
        (["resume=x"], "'resume=x': 'my_lab.reach:run' cannot be resumed"),
        (["verb=my_lab.reach:greedy"], "Greedy.seed: a key of every launch file; rename it"),
    ],
)
def test_its_settings_are_checked_as_ours_are(lab, overrides, said):
    with pytest.raises(UserError) as caught:
        launch.read(Path("reach.yaml"), overrides)
    assert str(caught.value).startswith(said)


def test_it_runs_and_its_configuration_runs_again(lab, capsys):
    assert main(["reach", "out=first", "seed=3"]) == 0
    assert main(["first/config.yaml", "out=again"]) == 0
    first, again = (json.loads(Path(f, "summary.json").read_text()) for f in ("first", "again"))
    assert first == again
    assert first["best"] > -30  # the bead stays where it is for 3 s: -15 to -30


def test_it_can_be_resumed_if_it_says_so(lab, capsys):
    line = ["reach", "verb=my_lab.reach:resumable"]
    assert main([*line, "out=here"]) == 130
    assert "go on with: robolearn here/config.yaml resume=here" in capsys.readouterr().err
    assert main([*line, "resume=here", "spring.spread=2"]) == 2
    assert main([*line, "resume=here", "trials=4"]) == 0
    assert json.loads(Path("here/summary.json").read_text()) == {"trials": 4}


def test_one_that_returns_nothing_is_told_what_to_return(lab, capsys):
    assert main(["reach", "verb=my_lab.reach:forgetful"]) == 2
    said = "verb 'my_lab.reach:forgetful' returned NoneType, not a dict of results\n"
    assert capsys.readouterr().err == f"robolearn: {said}"
