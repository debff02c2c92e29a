import numpy as np
import pytest
import torch

from robolearn.algos.pgd import PGD, PGDConfig, descend, divergence
from robolearn.errors import SpecError, UserError
from robolearn.state_attack import RandomPerturbation

from .victims import STATE, VICTIMS, budget, sac, states


@VICTIMS
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_lowers_the_divergence_in_every_state_and_stays_within_the_budget(make, norm):
    victim, intention, state = make(1), make(2), states(100)
    pgd = PGD(victim, intention, budget(norm))
    delta = pgd(state)
    random = RandomPerturbation(budget(norm))(state, torch.Generator().manual_seed(0))
    with torch.no_grad():
        aim = intention.distribution(state)
        clean, attacked, drawn = (
            divergence(victim, state + d, aim) for d in (torch.zeros_like(state), delta, random)
        )
    assert (budget(norm).measure(delta) <= 1 + 1e-5).all()
    assert (attacked <= clean * (1 + 1e-6)).all()
    assert attacked.mean() < 0.9 * clean.mean() and attacked.mean() < drawn.mean()


@VICTIMS
def test_between_bounds_it_descends_from_where_it_is_and_not_only_along_what_is_cut_off(make):
    victim, intention, state = make(1), make(2), states(100)
    pgd, centre = PGD(victim, intention, budget()), 0.1 * states(100, 1)
    low, high = centre - 0.1, centre + 0.1
    cut = torch.clamp(pgd(state), low, high)
    found = pgd.between(state, cut, low, high)
    allowed = budget().project(torch.clamp(found, low, high))
    torch.testing.assert_close(found, allowed)
    with torch.no_grad():
        aim = intention.distribution(state)
        begun, ended = (divergence(victim, state + d, aim) for d in (budget().project(cut), found))
    assert (ended <= begun * (1 + 1e-5)).all() and ended.mean() < 0.999 * begun.mean()


def test_descent_finds_the_corner_and_the_inside():
    one, config = budget(size=1.0), PGDConfig(steps=60, step=0.05)
    corner = descend(lambda x: x.sum(dim=1), torch.zeros(1, STATE), one, config)
    assert corner.tolist() == [[-1, -2, 0]]
    aim = torch.tensor([0.5, -1.0, 3.0])
    inside = descend(lambda x: (x - aim).square().sum(dim=1), torch.zeros(1, STATE), one, config)
    np.testing.assert_allclose(inside[0], [0.5, -1.0, 0.0], atol=0.1)


def test_what_cannot_be_attacked_or_intended_is_refused():
    with pytest.raises(UserError, match="victim 'object': has no distribution"):
        PGD(object(), sac(), budget())
    with pytest.raises(UserError, match="intention 'object': has no distribution"):
        PGD(sac(), object(), budget())
    with pytest.raises(SpecError, match=r"intention 'sac' sees a state \(5,\) instead of \(3,\)"):
        PGD(sac(), sac(entries=5), budget())
    with pytest.raises(UserError, match="steps should be"):
        PGDConfig(steps=0)
