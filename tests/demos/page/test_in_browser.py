"""A whole session on Lift in headless Chromium, by key presses and clicks."""

import json

import pytest
from browser import Browser, chromium
from page_session import DETOUR, elicit

from demos.data.dataset import Dataset
from demos.data.doctor import doctor

needs_chromium = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")


class Seen:
    """What the page says in each phase."""

    def __init__(self):
        self.texts, self.facts = {}, {}

    def __call__(self, name, browser: Browser):
        self.texts[name] = browser.ask("document.body.innerText").lower()
        self.facts[name] = json.loads(browser.ask("JSON.stringify({...document.body.dataset})"))


@needs_chromium
def test_practice_learn_a_rejection_and_one_that_is_kept(tmp_path):
    seen = Seen()
    outcome = elicit(tmp_path, (), seen)
    assert {name: facts["phase"] for name, facts in seen.facts.items()} == {
        "practice": "practice", "learn": "learn", "teach": "teach", "rejected": "teach",
        "why": "teach", "kept": "teach",
    }  # fmt: skip
    assert all(facts["link"] == "steers" for facts in seen.facts.values())
    assert "lift the cube" in seen.texts["practice"] and "begin" in seen.texts["practice"]
    assert "base demonstration 1 of 1" in seen.texts["learn"]
    assert "recording" in seen.texts["teach"] and "compatibility" in seen.texts["teach"]
    assert "does not fit" in seen.texts["rejected"] and "base" in seen.texts["rejected"]
    assert "yours, worst part 1" in seen.texts["why"]
    assert "1 of 5 kept, 1 rejected" in " ".join(seen.texts["kept"].split())

    dataset = Dataset.open(tmp_path / "ann")
    masks = dataset.masks()
    assert len(masks["kept"]) == len(masks["rejected"]) == 1 and masks["practice"]
    assert outcome.kept == 1 and outcome.attempts == len(dataset.names())
    assert outcome.differing == [] and doctor(tmp_path / "ann").healthy
    rejected, kept = (dataset.load(masks[name][0]) for name in ("rejected", "kept"))
    assert rejected.success and kept.success and len(rejected) > DETOUR
    assert not rejected.metadata["verdict"]["accepted"] and kept.metadata["verdict"]["accepted"]
    assert kept.metadata["device"]["name"] == "page"
    assert kept.records["engaged"].any()
    assert (kept.actions[~kept.records["engaged"]][:, :6] == 0.0).all()
