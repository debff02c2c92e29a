"""One skill of many: what its policy is shown, and that the skill is the nearest that there is."""

import numpy as np
import pytest
import torch

from robolearn.algos.slim import SLIM, SLIMConfig
from robolearn.attack import require_victim
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.skills.env import skill_size, with_skill, without_skill
from robolearn.skills.one import load_one_skill
from robolearn.state_attack import Budget
from robolearn.types import ArraySpec, Spec

NAMES = ("hand_x", "hand_y", "cube_x", "cube_y")
TABLE = Spec("test/Table", {"state": ArraySpec((4,), names=NAMES)}, ArraySpec((2,)), 0.1)
SKILL = {"entries": ["cube"], "widths": (8,), "skills": 3}


@pytest.fixture(params=["lsd", "diayn"])
def kept(request, tmp_path):
    """An untrained policy of skills, and its checkpoint."""
    config = SLIMConfig(widths=(8,), discovery=request.param, skill=SKILL)
    learner = SLIM(with_skill(TABLE, 3), config)
    checkpoint.save(tmp_path / "slim", learner)
    return learner, tmp_path / "slim"


def test_it_is_the_policy_with_that_skill(kept):
    learner, folder = kept
    one = load_one_skill(folder, TABLE, [0.0, -3.0, 4.0])
    z = [0.0, 0.0, 1.0] if learner.config.discovery == "diayn" else [0.0, -0.6, 0.8]
    np.testing.assert_allclose(one.skill, z, rtol=1e-6)
    state = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    shown = torch.cat([state, torch.tensor([z] * 5)], dim=1)
    ours, theirs = one.distribution(state), learner.distribution(shown)
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.log_std, theirs.log_std)
    seen = {"state": state.numpy()}
    np.testing.assert_allclose(one.act(seen), learner.act({"state": shown.numpy()}), rtol=1e-5)
    assert one.interface.observations == TABLE.observations
    require_victim(one, Budget.unit(TABLE.observations["state"]))  # gradients reach the state


def test_without_a_skill_there_is_none(kept):
    folder = kept[1]
    for numbers, said in {
        None: "has skills: skill should say which by 3 numbers$",
        (1.0,): "3 numbers, not 1",
        (0.0, 0.0, 0.0): "no skill is nearest to zero",
    }.items():
        with pytest.raises(UserError, match=said):
            load_one_skill(folder, TABLE, numbers)


def test_a_policy_without_a_stream_for_skills_has_none(tmp_path):
    terms = {"reach": {"reach": 1.0}}
    config = SLIMConfig(widths=(8,), skill=SKILL, terms=terms, weights={"reach": 1.0})
    checkpoint.save(tmp_path / "slim", SLIM(with_skill(TABLE, 3), config))
    with pytest.raises(UserError, match="without 'discovery', so it has no skills"):
        load_one_skill(tmp_path / "slim", TABLE, [1.0, 0.0, 0.0])


def test_entries_of_a_skill_are_counted_and_taken_away():
    assert skill_size(with_skill(TABLE, 3)) == 3 and skill_size(TABLE) == 0
    assert without_skill(with_skill(TABLE, 3)).observations == TABLE.observations
    images = Spec("test/Screen", {"front": ArraySpec((8, 8, 3), "uint8")}, ArraySpec((2,)), 0.1)
    assert skill_size(images) == 0 and without_skill(images) is images
