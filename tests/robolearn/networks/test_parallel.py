"""Several processes learn as one does: two by gloo, on this machine."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock, call

import pytest
import safetensors.torch
import torch

from robolearn.__main__ import main
from robolearn.networks.parallel import ALONE, together

pytestmark = pytest.mark.usefixtures("one_thread")

SCRIPT = Path(__file__).with_name("sharing.py")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def sharing():
    spec = importlib.util.spec_from_file_location("sharing", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Let two processes take a step; give what each has then."""
    folder = tmp_path_factory.mktemp("both")
    done = subprocess.run([*TORCHRUN, SCRIPT, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [safetensors.torch.load_file(folder / f"{rank}.safetensors") for rank in range(2)]


def test_two_processes_take_the_step_of_one_with_the_double_batch(sharing, both):
    alone, half = (sharing.stepped("dreamer", rows) for rows in (slice(None), slice(0, 2)))
    elsewhere = 0
    for name, whole in alone.items():
        torch.testing.assert_close(both[0][name], whole, rtol=1e-4, atol=1e-5)
        elsewhere += not torch.allclose(half[name], whole, rtol=1e-4, atol=1e-5)
    assert elsewhere > 10


def test_all_have_the_same_weights_and_statistics_and_noise_of_their_own(sharing, both):
    for name in both[0].keys() - {"noise"}:
        assert torch.equal(both[0][name], both[1][name]), name
    acted = sharing.batch()["actions"][:, 1:].flatten(0, 1)
    assert both[0]["infopower.critics.acted.count"] == len(acted)
    torch.testing.assert_close(both[0]["infopower.critics.acted.mean"], acted.mean(dim=0))
    assert not torch.equal(both[0]["noise"], both[1]["noise"])


def test_alone_nothing_is_exchanged():
    tensor, state = torch.ones(2), torch.Generator().manual_seed(3)
    before = state.get_state()
    ALONE.mean_([tensor])
    ALONE.noise_of_its_own(state)
    assert torch.equal(tensor, torch.ones(2)) and torch.equal(state.get_state(), before)
    assert ALONE.rows(tensor) is tensor and ALONE.key == ()


@pytest.mark.parametrize(("device", "by"), [("cpu", "gloo"), ("cuda:1", "nccl")])
def test_gpus_exchange_by_nccl(monkeypatch, device, by):
    group = Mock(get_rank=lambda: 1, get_world_size=lambda: 2)
    monkeypatch.setattr("robolearn.networks.parallel.dist", group)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with together(torch.device(device)) as ranks:
        assert (ranks.rank, ranks.size) == (1, 2)
    assert group.init_process_group.mock_calls == [call(by)]
    group.destroy_process_group.assert_called_once()


def test_a_verb_for_one_process_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(["bc_lift", f"out={tmp_path}/run"]) == 2
    said = "robolearn: 'bc' is for one process: start it without torchrun\n"
    assert capsys.readouterr().err == said
    assert not (tmp_path / "run").exists()
