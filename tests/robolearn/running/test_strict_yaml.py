import math

import pytest
import yaml

from robolearn.errors import UserError
from robolearn.running.strict_yaml import dump, parse

VALUES = {
    "text": ["a", "off", "yes", "010", "0x10", "1_000", "1:30", "2026-01-01", "=", "1e", "."],
    "numbers": [0, -3, 17, 0.5, 1e-3, -2e5, 1e300, math.inf],
    "else": [True, False, None, [], {}, {"a": {"b": [1, {"c": "d"}]}}],
    "looks like a number": ["1e-3", "12", "1.5", ".inf", "true", "null", "", "~"],
}


def test_what_is_written_reads_back_equal_and_of_the_same_types():
    read = parse(dump(VALUES), "x").value
    assert repr(read) == repr(VALUES)


def test_what_is_written_means_the_same_to_a_yaml_1_1_reader():
    text = {key: VALUES[key] for key in ("text", "looks like a number")}
    assert yaml.safe_load(dump(text)) == text


@pytest.mark.parametrize("text", VALUES["text"])
def test_plain_text_stays_text(text):
    assert parse(text, "x").value == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1E5", 1e5), ("-.5", -0.5), ("+3", 3), ("2.", 2.0), ("-.inf", -math.inf)],
)
def test_numbers(text, value):
    read = parse(text, "x").value
    assert read == value
    assert type(read) is type(value)


def test_lines_are_known():
    document = parse("a: 1\nb:\n  c:\n  - 1\n  - d: 2\n", "x")
    assert document.line(["a"]) == 1
    assert document.line(["b"]) == 2
    assert document.line(["b", "c", 1]) == 5
    assert document.line(["b", "c", 1, "d"]) == 5
    assert document.line(["b", "unknown"]) == 2
    assert document.line(["unknown"]) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "x:2: key 'a' stands twice"),
        ("b: 1\na: {c: 1, c: 2}", "x:2: key 'c' stands twice"),
        ("a: 1\n3: b", "x:2: a key must be text"),
        ("a: 1\n? [b]\n: c", "x:2: a key must be text"),
        ("a: &a b\nc: *a", "x:2: an alias; write the value out"),
        ("&a [*a]", "x: an alias; write the value out"),
        ("a: 1\nb: [", "x:2: expected the node content"),
        ("a: 1\n\tb: 2", "x:2: found character '\\t'"),
        ("a: 1\n--- \nb: 2", "x:2: but found another document"),
        pytest.param("[" * 3000, "x: too many values inside each other", id="deep"),
        pytest.param("9" * 5000, "x: a number has too many digits", id="long"),
        ("a: !!python/name:os.system", "x: could not determine a constructor"),
        ("a: !!timestamp 2026-01-01", "x: could not determine a constructor"),
        ("a: \x00", "x: unacceptable character"),
    ],
)
def test_faults_are_said_with_their_line(text, said):
    with pytest.raises(UserError) as caught:
        parse(text, "x")
    assert str(caught.value).startswith(said)


def test_there_is_no_merging():
    assert parse("<<: {a: 1}", "x").value == {"<<": {"a": 1}}


@pytest.mark.parametrize("text", ["", "# only a comment", "---", "~"])
def test_nothing_is_none(text):
    assert parse(text, "x").value is None
