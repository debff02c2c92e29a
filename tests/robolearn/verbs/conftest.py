"""Verbs draw where a test looks at it: to draw takes half of a run as small as these."""

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def drawn() -> None:
    """Have the pictures of a test's runs drawn, as those of whole files of tests are."""


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch) -> None:
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
