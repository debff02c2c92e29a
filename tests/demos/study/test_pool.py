"""Jobs on several processes: what happens when one dies."""

import os

import pytest

from demos.study.pool import Pool
from robolearn.errors import UserError
from robolearn.running.run import Run


def test_a_process_that_dies_is_one_line_that_says_how_to_go_on(tmp_path):
    with (
        Run(tmp_path, seed=0) as run,
        pytest.raises(UserError, match="baking: a worker process died .* go on with: .*resume="),
        Pool(1, run) as pool,
    ):
        pool.stage("baking", [(os._exit, 3)])
