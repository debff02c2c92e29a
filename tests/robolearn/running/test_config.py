import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from robolearn.errors import UserError
from robolearn.running import strict_yaml
from robolearn.running.config import EnvConfig, build, plain, read


@dataclass(frozen=True)
class Net:
    widths: tuple[int, ...] = (8, 8)
    rate: float = 1e-3
    bias: bool = True


@dataclass(frozen=True)
class Layers:
    first: Net = Net(rate=0.5)
    last: Net = Net()


@dataclass(frozen=True)
class Config:
    name: str
    net: Net = Net()
    others: tuple[Net, ...] = ()
    named: dict[str, Net] = field(default_factory=dict)
    extra: Net | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    mode: Literal["off", "on"] = "off"
    options: dict[str, Any] = field(default_factory=dict)
    small: Net = Net(widths=(4,), bias=False)
    whole: Layers = Layers()
    stacks: tuple[Layers, ...] = ()
    called: dict[str, Layers] = field(default_factory=dict)
    perhaps: Layers | None = None

    def __post_init__(self):
        if self.name == "forbidden":
            raise UserError("that name is taken")


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Build a Config from YAML text and overrides; the file is called x.yaml."""
    monkeypatch.chdir(tmp_path)

    def load(text: str, *overrides: str) -> Config:
        Path("x.yaml").write_text(text)
        source = read(Path("x.yaml"), overrides)
        return build(Config, source, source.values, also_known=["seed"])

    return load


def error_of(load, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load(text, *overrides)
    return str(caught.value)


def test_yaml_becomes_nested_frozen_dataclasses(load):
    config = load(
        """
        name: a
        net: {widths: [4, 2], rate: 1}
        others: [{bias: false}]
        named: {left: {rate: 2e-4}}
        extra: {}
        options: {horizon: 3, sizes: [1, 2]}
        """
    )
    assert config == Config(
        "a",
        Net((4, 2), 1.0),
        (Net(bias=False),),
        {"left": Net(rate=2e-4)},
        Net(),
        options={"horizon": 3, "sizes": [1, 2]},
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.name = "b"


def test_a_section_given_in_part_keeps_the_rest_of_its_fields_default(load):
    assert load("name: a").small == Net(widths=(4,), bias=False)
    assert load("name: a", "small.rate=0.5").small == Net(widths=(4,), rate=0.5, bias=False)
    assert load("name: a\nsmall: {bias: true}").small == Net(widths=(4,), bias=True)
    assert load("name: a", "net.rate=0.5", "extra.rate=0.5").extra == Net(rate=0.5)
    half = Net(rate=0.5, bias=False)
    assert load("name: a", "whole.first.bias=false").whole == Layers(half)
    assert load("name: a", "perhaps.first.bias=false").perhaps == Layers(half)
    assert load("name: a\nstacks: [{first: {bias: false}}]").stacks == (Layers(half),)
    called = load("name: a\ncalled: {first: {first: {bias: false}}, last: {}}").called
    assert called == {"first": Layers(half), "last": Layers()}
    with pytest.raises(UserError, match="unknown key 'small.rat'"):
        load("name: a", "small.rat=0.5")


def test_a_number_is_written_as_in_python_and_text_without_quotes(load):
    assert load("name: off\nnet: {rate: 1e-3}", "mode=on") == Config("off", Net(), mode="on")
    assert load("name: a", "net.rate=1e-3", "name=a=b").name == "a=b"
    assert load("name: a", "net.rate=3").net.rate == 3.0


def test_overrides_reach_into_sections_and_replace_them(load):
    config = load("name: a\nnet: {rate: 2.0}", "net.bias=false", "mode=on", "options.a.b=[1, x]")
    assert config.net == Net(rate=2.0, bias=False)
    assert (config.mode, config.options) == ("on", {"a": {"b": [1, "x"]}})
    assert load("name: a\nextra: {rate: 2.0}", "extra=").extra is None
    assert load("name: a", "net={rate: 3.0}", "net.bias=false").net == Net(rate=3.0, bias=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nmae: a", "x.yaml:1: unknown key 'nmae'; did you mean 'name'?"),
        ("name: a\nsede: 1", "x.yaml:2: unknown key 'sede'; did you mean 'seed'?"),
        (
            "name: a\nnet:\n  bias: true\n  width: [1]",
            "x.yaml:4: unknown key 'net.width'; did you mean 'widths'?",
        ),
        (
            "name: a\nothers:\n- rate: 1\n- rat: 1",
            "x.yaml:4: unknown key 'others.1.rat'; did you mean 'rate'?",
        ),
        (
            "name: a\nnamed:\n  left: {rat: 1}",
            "x.yaml:3: unknown key 'named.left.rat'; did you mean 'rate'?",
        ),
        ("name: a\nextra: {b: 1}", "x.yaml:2: unknown key 'extra.b'; known: bias, rate, widths"),
        ("mode: on", "x.yaml: missing key 'name'"),
        ("name: a\npair: [1]", "x.yaml:2: pair lacks its entry 2"),
        ("name: 3", "x.yaml:1: name should be a valid string, not 3"),
        ("name: a\nnet: 3", "x.yaml:2: net should be 'key: value' lines, not 3"),
        ("name: a\nnet: {rate: x}", "x.yaml:2: net.rate should be a valid number, not 'x'"),
        ("name: a\nnet: {bias: 1}", "x.yaml:2: net.bias should be a valid boolean, not 1"),
        (
            "name: a\nnet:\n  widths:\n  - 1\n  - 1.0",
            "x.yaml:5: net.widths.1 should be a valid integer, not 1.0",
        ),
        ("name: a\nmode: of", "x.yaml:2: mode should be 'off' or 'on', not 'of'"),
        ("name: forbidden", "x.yaml: that name is taken"),
        ("", "x.yaml: is empty; expected 'key: value' lines"),
        ("# only a comment", "x.yaml: is empty; expected 'key: value' lines"),
        ("- name", "x.yaml: expected 'key: value' lines"),
        ("name: a\nname: b", "x.yaml:2: key 'name' stands twice"),
    ],
)
def test_a_fault_is_said_in_one_line_with_its_place(load, text, said):
    error = error_of(load, text)
    assert error.startswith(said)
    assert "\n" not in error


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("net.rat=3", "'net.rat=3': unknown key 'net.rat'; did you mean 'rate'?"),
        ("net.rate=x", "'net.rate=x': net.rate should be a valid number, not 'x'"),
        ("net={rate: x}", "'net={rate: x}': net.rate should be a valid number, not 'x'"),
        ("name.first=a", "'name.first=a': name has no keys of its own"),
        ("net", "'net': expected key=value; `robolearn show LAUNCH` lists the keys"),
        ("-m", "'-m': expected key=value; many runs are 'sweep.seed=[0, 1]'"),
        (
            "net.widths=[0,",
            "'net.widths=[0,': expected the node content, but found '<stream end>'; "
            "is it cut? In a shell, quotes go around what has spaces",
        ),
        ("=3", "'=3': expected key=value"),
        ("net..rate=3", "'net..rate=3': expected key=value"),
        ("net=[", "'net=[': expected the node content"),
        ("net={a: 1, a: 2}", "'net={a: 1, a: 2}': key 'a' stands twice"),
    ],
)
def test_a_faulty_override_is_named(load, override, said):
    assert error_of(load, "name: a", override).startswith(said)


@pytest.mark.parametrize("content", [None, b"name: \xff", b"name: \x00"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "x.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="x.yaml"):
        read(path)


def test_what_is_written_reads_back_equal(load):
    config = Config("off", Net((1,), 1e-5), named={"2": Net()}, options={"e": "1e3", "t": [None]})
    assert load(strict_yaml.dump(plain(config))) == config


def test_an_environment_is_a_name_and_options():
    assert plain(EnvConfig("dmc/walker-walk", {"horizon": 3})) == {
        "name": "dmc/walker-walk",
        "options": {"horizon": 3},
    }
