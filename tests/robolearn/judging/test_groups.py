"""Tables and summaries of verdicts, by hand."""

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from robolearn.judging.groups import (
    Judged,
    grouped,
    said,
    summary_of,
    table_of_each,
    table_of_groups,
    too_short,
    worst,
)
from robolearn.judging.harm import HarmJudge
from robolearn.judging.reasons import Reason
from robolearn.judging.report import _most_harmful, along, draw_report, report_figure
from robolearn.judging.verdicts import HarmVerdict

SLOW = Reason("tempo", 3, 9, 4.0, "slower than the base by 4 steps in steps 3 to 8")
WRONG = Reason("commands", 0, 5, 7.0, "dx is reversed in steps 0 to 4")


def judged(name, operator, harm, *reasons, lost=0.02, steps=10):
    verdict = HarmVerdict(
        accepted=harm <= 1.0,
        harm=harm,
        p_value=0.5,
        progress_lost=lost,
        waited=lost / 10,
        contrary=2 * lost,
        command_mismatch=0.1,
        reasons=reasons,
        lost=np.linspace(0, 1, steps),
        waiting=np.zeros(steps),
        opposing=np.zeros(steps),
        residuals=np.zeros((steps, 2)),
        departure=np.zeros((steps, 2)),
        clipped=1,
    )
    return Judged(name, operator, steps, verdict)


FOUND = [
    judged("demo_0", "ann", 0.25, lost=0.0125),
    judged("demo_1", "bob_2", 2.0, SLOW, WRONG, lost=0.2),
    judged("demo_2", "ann", 0.5, lost=0.015),
    judged("demo_3", "bob_2", 1.5, WRONG, lost=0.1),
    judged("demo_4", "bob_2", 1.25, SLOW, lost=0.14),
    judged("demo_5", "bob_2", 0.75, lost=0.1),
]


SHORT = Judged("demo_6", "bob_2", 7, None)


def test_groups_stand_in_the_order_in_which_they_come():
    groups = grouped(FOUND)
    assert list(groups) == ["ann", "bob_2"]
    assert [one.name for one in groups["bob_2"]] == ["demo_1", "demo_3", "demo_4", "demo_5"]


def test_a_group_has_shares_medians_and_worst_reasons():
    assert summary_of(grouped(FOUND)["bob_2"]) == {
        "demonstrations": 4,
        "too_short": 0,
        "accepted": 0.25,
        "harm": 1.375,
        "progress_lost": pytest.approx(0.12),
        "waited": pytest.approx(0.012),
        "contrary": pytest.approx(0.24),
        "reasons": {"tempo": 2, "commands": 1},
    }


def test_a_table_of_groups():
    assert table_of_groups(grouped(FOUND)).splitlines() == [
        "operator   demonstrations   accepted   harm   progress lost   waited   contrary   "
        "most often",
        "ann                     2       100%   0.38              1%     0.1%         3%",
        "bob_2                   4        25%   1.38             12%     1.2%        24%   "
        "slower than the base (2 of 3 rejected)",
    ]


def test_a_table_of_demonstrations():
    lines = table_of_each(FOUND).splitlines()
    assert len(lines) == 7
    assert lines[1].split() == ["demo_0", "ann", "yes", "0.25", "1%", "0.1%", "2%"]
    assert lines[2].endswith(
        f"no   2.00             20%     2.0%        40%   {SLOW.text}; {WRONG.text}"
    )
    assert lines[2].endswith(said(FOUND[1].verdict))


def test_the_worst_are_those_that_are_rejected():
    assert list(worst(FOUND, 2)) == [
        f"demo_1 (bob_2), harm 2.00: {SLOW.text}; {WRONG.text}",
        f"demo_3 (bob_2), harm 1.50: {WRONG.text}",
    ]
    assert len(list(worst(FOUND, 9))) == 3


def test_a_demonstration_is_summed_up_in_plain_values():
    summary = FOUND[3].summary()
    assert summary["steps"] == 10 and summary["clipped"] == 1 and summary["harm"] == 1.5
    assert [name for name, value in summary.items() if value is None] == []
    assert summary["reasons"] == [
        {"mechanism": "commands", "start": 0, "end": 5, "amount": 7.0, "text": WRONG.text}
    ]


def test_what_is_too_short_to_judge_is_not_accepted_and_told():
    some = [*grouped(FOUND)["bob_2"], SHORT]
    summary = summary_of(some)
    assert (summary["demonstrations"], summary["too_short"], summary["accepted"]) == (5, 1, 0.2)
    assert summary["harm"] == 1.375  # of those that can be judged
    told = table_of_groups({"bob_2": some, "cid": [SHORT]}).splitlines()
    assert told[1].endswith("slower than the base (2 of 3 rejected); too short to judge (1)")
    assert told[2].split() == ["cid", "1", "0%", *"----", *"too short to judge (1)".split()]
    line = table_of_each(some).splitlines()[-1].split()
    assert line == ["demo_6", "bob_2", "no", *"----", *"too short to judge: 7 steps".split()]
    assert list(worst(some, 9)) == list(worst(FOUND, 9))
    assert too_short(some) == "too short to judge, of fewer than 19 steps: demo_6 (7 steps)"
    assert too_short(FOUND) == ""
    many = [Judged(f"demo_{i}", "cid", 5, None) for i in range(12)]
    assert too_short(many).endswith("demo_8 (5 steps), demo_9 (5 steps) and 2 more")
    about = SHORT.summary()
    assert about["too_short"] and not about["accepted"] and about["steps"] == 7
    assert about["harm"] is None and about["reasons"] == []
    assert about.keys() == FOUND[0].summary().keys()


@pytest.mark.parametrize(
    ("lost", "means"),
    [
        ([0.0, 1.0, 0.5, 0.5], [0.5, 0.5]),
        ([1.0], [1.0, 1.0]),
        ([1.0, 0.0, 0.0], [2 / 3, 0.0]),
    ],
)
def test_means_over_parts_of_a_demonstration(lost, means):
    np.testing.assert_allclose(along(np.array(lost), 2), means)


def test_of_many_operators_the_most_harmful_are_drawn(judge, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.suptitle", lambda self, text, **how: titles.append(text)
    )
    many = grouped([judged("demo_0", f"operator {i}", 0.1 * i) for i in range(20)])
    draw_report(judge, many, "base", tmp_path / "report.png")
    assert titles[0].endswith(
        "11 of 20 are accepted; shown are the 16 most harmful of 20 operators"
    )
    kept = _most_harmful(many)
    assert list(kept) == [f"operator {i}" for i in range(4, 20)]


@pytest.fixture(scope="module")
def judge():
    rng = np.random.default_rng(0)
    states = [np.cumsum(0.1 + 0.02 * rng.standard_normal((24, 3)), axis=0) for _ in range(5)]
    return HarmJudge.of(states, [rng.uniform(-1, 1, (24, 2)) for _ in range(5)])


@pytest.mark.parametrize(
    "found",
    [
        FOUND,
        FOUND[:1],
        [judged("demo_9", "slow " * 9, 99.0, WRONG)],
        [FOUND[0], SHORT],
        [FOUND[1], SHORT],
    ],
)
def test_the_picture_shows_every_demonstration(judge, tmp_path, found, monkeypatch):
    dots = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.scatter",
        lambda self, x, y, **how: dots.extend(zip(x, y, strict=True)),
    )
    draw_report(judge, grouped(found), "base", tmp_path / "report.png")
    assert len(dots) == 5 + sum(one.verdict is not None for one in found)
    heights = [y for _, y in dots]
    assert len(set(heights)) == len(heights) and heights == sorted(heights)
    assert max(x for x, _ in dots) <= 6.0
    assert imread(tmp_path / "report.png").shape[1] == 1650


WAITED = Reason("waiting", 3, 8, 5.0, "waits 5 steps before gripper goes to +1.00 in steps 3 to 7")
OPPOSED = Reason("contrary", 2, 9, 6.0, "commands gripper at -1.00 for 6 steps in steps 2 to 8")


def test_titles_of_the_picture_stand_beside_each_other(judge):
    found = grouped([judged("demo_0", "ann", 2.0, WAITED, OPPOSED, WRONG)])
    figure = report_figure(judge, found, "base")
    figure.canvas.draw()
    titles = {axes.get_title(loc="left") for axes in figure.axes} - {""}
    texts = figure.findobj(lambda part: isinstance(part, Text) and part.get_text() in titles)
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_marks_of_several_kinds_do_not_hide_each_other(judge):
    found = grouped([judged("demo_0", "ann", 2.0, WAITED, OPPOSED)])
    strips = report_figure(judge, found, "base").axes[1]
    heights = {line.get_color(): line.get_ydata()[0] for line in strips.lines}
    assert len(heights) == 2
    (above, below), rows = sorted(heights.values()), 13  # one demonstration as high as 13 rows
    assert below - above == pytest.approx(rows / 2)
