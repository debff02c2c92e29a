"""Where networks compute; there is no GPU in the tests, so torch is told of some."""

import pytest
import torch

from robolearn.errors import UserError
from robolearn.networks.devices import device_of


def test_the_processor_needs_nothing():
    assert device_of("cpu") == "cpu"


def test_without_a_gpu_cuda_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"^device: 'cuda': torch sees no GPU here; device=cpu"):
        device_of("cuda")


def test_each_of_torchruns_processes_has_a_gpu_of_its_own(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert device_of("cuda") == "cuda:0"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device_of("cuda") == "cuda:1" and chosen == [0, 1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match=r"torch sees 2 GPUs here; --nproc-per-node 2"):
        device_of("cuda")
