import re

import pytest

from demos.study.replicate import HARM
from demos.study.report import COMPATIBLE, INCOMPATIBLE, WORDS, draw_report, figure_of, report_text

NAMES = ("twin", "other_order")
ALL = tuple(WORDS)
QUICKSTART = ("naive", "filtered", "random_drop", "informed")


def outcome(success, demonstrations=45.0):
    interval = [success - 0.1, min(success + 0.1, 1.0)]
    outcome = {"success": success, "interval": interval, "episodes": 40}
    return outcome | {"demonstrations": demonstrations}


def summary(conditions=QUICKSTART, **changes):
    """One operator that fits and one whose demonstrations are all rejected."""
    operators = {
        name: {"compatible": name == "twin", "rejected_share": float(name != "twin")}
        | {condition: outcome(0.5) for condition in conditions}
        for name in NAMES
    }
    if "filtered" in conditions:
        operators["other_order"]["filtered"] = outcome(0.875, 31.0)
    about = {"task": "robosuite/Lift", "replicates": 1, "statistic": "worst_share", "alpha": 0.05}
    about |= {"auc": 0.99, "auc_paper": 0.89, "false_rejection_rate": 0.1, "filter_by": "stretches"}
    return about | {"base": outcome(0.925, 30.0), "operators": operators} | changes


def scores(statistic="worst_share", other=((0.9, 0.01), (0.7, 0.04)), base=0.5):
    rows = {"base_held_out": [(base, 0.5)], "twin": [(0.8, 0.06)], "other_order": other}
    return [{name: [{statistic: pair} for pair in pairs] for name, pairs in rows.items()}]


def texts(figure):
    """Everything that is written on a picture, lines joined."""
    verdicts, success = figure.axes
    found = [figure.get_suptitle(), figure.get_supxlabel()]
    found += [text.get_text() for axes in (verdicts, success) for text in axes.texts]
    return " | ".join(" ".join(text.split()) for text in found)


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def colours(figure):
    """The dots' colours, a list for each row."""
    from matplotlib.colors import to_hex

    return [[to_hex(c) for c in row.get_facecolors()] for row in figure.axes[0].collections]


@pytest.mark.parametrize("conditions", [("naive",), QUICKSTART, ALL])
def test_the_picture_is_saved(tmp_path, conditions):
    draw_report(summary(conditions), scores(), tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_speaks_the_words_of_the_readme():
    figure = figure_of(summary(), scores())
    alone = "base alone (30 demonstrations)"
    words = ["all added", "filtered", "dropped at random", "informed"]
    assert legend(figure) == [alone, *words]
    said = texts(figure)
    for word, name in (("all added", "naive"), ("dropped at random", "random_drop")):
        assert said.count(f"{word} ({name}):") == 1
        assert len(re.findall(rf"\b{name}\b", said)) == 1
    assert "; filtered: " in said and said.count("(worst_share)") == 1


def test_other_conditions_have_words_too():
    figure = figure_of(summary(ALL), scores())
    assert "as many steps of a compatible operator" in legend(figure)
    assert "repaired: at the base's tempo" in legend(figure)
    assert "as many steps of a compatible operator (matched): " in texts(figure)
    assert "; repaired: " in texts(figure)


def test_the_colour_is_the_verdict_and_the_caption_says_why_the_axis_is_not():
    figure = figure_of(summary(), scores())
    assert colours(figure) == [[COMPATIBLE], [COMPATIBLE], [INCOMPATIBLE, INCOMPATIBLE]]
    said = texts(figure)
    assert "100% rejected (2 of 2)" in said
    assert "the verdict of a p-value (rejected: 0.05 or less)" in said
    assert "a red dot can lie to the left of a blue one" in said


def test_by_harm_the_axis_is_the_verdict():
    found = scores(HARM, other=[(1.1, 0.5), (0.9, 0.01)])
    figure = figure_of(summary(statistic=HARM), found)
    assert colours(figure)[-1] == [INCOMPATIBLE, COMPATIBLE]
    assert "50% rejected (1 of 2)" in texts(figure)
    assert "beyond 1 it is rejected" in texts(figure)
    assert "p-value" not in texts(figure)
    assert figure.axes[0].get_xlabel() == "harm that the demonstration would do"


def test_a_demonstration_below_zero_is_not_cut_off():
    figure = figure_of(summary(statistic=HARM), scores(HARM, base=-0.3))
    assert figure.axes[0].get_xlim()[0] == -0.3


@pytest.mark.parametrize(("farthest", "scale"), [(9.9, "linear"), (10.1, "log")])
def test_the_axis_says_whether_it_is_logarithmic(farthest, scale):
    figure = figure_of(summary(), scores(other=[(farthest, 0.01)]))
    axes = figure.axes[0]
    assert axes.get_xscale() == scale
    assert axes.get_xlabel().endswith("logarithmic scale") == (scale == "log")
    if scale == "linear":
        assert axes.get_xlim()[0] == 0


def test_beside_a_bar_stands_how_many_demonstrations_it_was_trained_on():
    figure = figure_of(summary(), scores())
    beside = [text.get_text() for text in figure.axes[1].texts]
    assert sorted(beside) == ["31", *["45"] * 7, "demonstrations"]
    assert "and of a rejected one the parts that pass" in texts(figure)


@pytest.mark.parametrize(
    ("filter_by", "said"),
    [
        ("demonstrations", "filtered: the demonstrations that are accepted; dropped"),
        ("pairs", "filtered: all demonstrations, without their incompatible steps; dropped"),
    ],
)
def test_the_caption_says_what_filtering_drops(filter_by, said):
    assert said in texts(figure_of(summary(filter_by=filter_by), scores()))


TABLE = """\
robosuite/Lift: success of 40 episodes, in brackets its 95% interval;
the base operator's demonstrations alone: 92% (82-100); with others:

                                                                  dropped at
operator        made to fit  rejected    all added     filtered       random     informed
base, held out          yes       10%
twin                    yes        0%  50% (40-60)  50% (40-60)  50% (40-60)  50% (40-60)
other order              no      100%  50% (40-60)  88% (78-98)  50% (40-60)  50% (40-60)
"""


def test_the_table_for_a_terminal():
    assert report_text(summary()) == TABLE


def test_the_table_fits_a_terminal_with_all_conditions():
    lines = report_text(summary(ALL)).splitlines()
    assert max(map(len, lines)) <= 125
    *_, header, _, _, _ = lines
    assert header.split()[-2:] == ["random", "informed"]
