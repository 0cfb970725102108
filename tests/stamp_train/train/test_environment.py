"""`stamp-train env`: what it says of this machine is so, and it gives nobody away."""

from __future__ import annotations

import getpass
import platform
import socket
from pathlib import Path

import msgspec
import pytest
import torch

from stamp_cli.train import app
from stamp_train.train import environment as module
from stamp_train.train.environment import environment


def test_what_is_here() -> None:
    found = environment()
    assert found.packages["torch"] == torch.__version__
    assert found.python == platform.python_version()
    assert len(found.gpus) == torch.cuda.device_count()
    assert found.memory * 2**30 == pytest.approx(_proc_memory(), rel=0.02)


def test_without_a_gpu_attention_is_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = environment()
    assert found.attention == {"bfloat16": "segments", "float32": "segments"}
    assert found.flash == "none"


@pytest.mark.parametrize(("kernel", "name"), [("_flash_attn_kernel", "flash-attn"), ("_torch_kernel", "torch")])
def test_the_kernel_that_flash_would_take(kernel: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from stamp_train.attention import flash

    monkeypatch.setattr(module, "find_kernel", lambda: getattr(flash, kernel))
    assert environment().flash == name


def test_no_name_and_no_path(capsys: pytest.CaptureFixture[str]) -> None:
    app("env")(["env"], standalone_mode=False)
    told = capsys.readouterr().out + msgspec.json.encode(environment()).decode()
    assert torch.__version__ in told
    words = {word.strip(',"') for word in told.split()}
    assert not words & {socket.gethostname(), getpass.getuser(), str(Path.home())}
    assert str(Path.cwd()) not in told


def _proc_memory() -> int:
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return int(line.split()[1]) * 1024
