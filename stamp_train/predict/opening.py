"""Checkpoints of any kind, ready to answer: finished models, runs, LoRA checkpoints (merged), published folders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from stamp_schemas import StampError, UsageFault
from stamp_train.backbones.folder import is_base
from stamp_train.backbones.load import check_folder, load_checkpoint
from stamp_train.backbones.modeling import StampModel
from stamp_train.backbones.processor import StampProcessor
from stamp_train.generation.prompts import check_rows
from stamp_train.sequence.errors import StampModelError, reading
from stamp_train.train.folder import CONFIG, find_checkpoint

DTYPES = ("auto", "bfloat16", "float16", "float32")


@contextmanager
def told(where: str) -> Iterator[None]:
    """Within it a StampModelError names `where`, the file or request, if it does not yet."""
    try:
        yield
    except StampModelError as fault:
        named = fault.message.startswith(where)
        raise StampError(fault.message if named else f"{where}: {fault.message}", fault.hint) from fault


def open_checkpoint(
    path: str | Path, device: str = "auto", dtype: str = "auto", base: str | Path = ""
) -> tuple[StampModel, StampProcessor]:
    """The model of a checkpoint (see `find_checkpoint`) in evaluation mode, and its processor.

    device: `auto` (see `pick_device`), or as torch names them. dtype: one of `DTYPES`; `auto` is the stored one, but float32 on
    a CPU, which has few kernels for the others. base: see `load_folder`. UsageFault for no such device or dtype, StampError for
    no such folder and as `load_folder`.
    """
    place, precision = pick_device(device), _precision(dtype)
    if precision is None and place.type == "cpu":
        precision = torch.float32
    folder = find_checkpoint(Path(path))
    model, processor = load_folder(folder, precision, base)
    try:
        model.to(place)
    except RuntimeError as fault:  # torch's own error for memory is one of these
        reason = str(fault).splitlines()[0]
        raise StampError(f"{folder}: does not go to {place}: {reason}", "try bfloat16, or another device") from None
    return model, processor


def load_folder(
    folder: Path, dtype: torch.dtype | None = None, base: str | Path = ""
) -> tuple[StampModel, StampProcessor]:
    """The model of a folder, as `find_checkpoint` gives it, in evaluation mode on the CPU, and its processor.

    Adapters are merged. dtype: None for the stored one; of a run's adapter that is the precision of the run. base: folder or
    hub name of the model that an adapter was trained on; of a run's own, where that is not where it was. UsageFault for a base
    for a whole model, or one that is not there; StampError for a damaged folder, another family of models, tokens or weights
    that are missing.
    """
    with told(str(folder)), reading(folder):
        model, processor = _open(folder, dtype, str(base))
    model.eval()
    return model, processor


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; `auto` takes CUDA, then Apple's MPS, then the CPU. UsageFault if there is none of it here."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageFault(f"no device {name!r}", "choose auto, cpu, cuda, cuda:1, …, or mps") from None
    if not available.get(device.type) or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        there = ", ".join(kind for kind, found in available.items() if found)
        raise UsageFault(f"no device {name!r} here", f"here: {there}")
    return device


def _precision(name: str) -> torch.dtype | None:
    if name not in DTYPES:
        raise UsageFault(f"no dtype {name!r}", f"choose one of {', '.join(DTYPES)}")
    found: torch.dtype | None = None if name == "auto" else getattr(torch, name)
    return found


def _open(folder: Path, dtype: torch.dtype | None, base: str) -> tuple[StampModel, StampProcessor]:
    if (folder / CONFIG).is_file():
        if base:
            raise UsageFault(f"{folder}: a whole model, which is put on no base", "leave --base out")
        check_folder(folder)
        if is_base(folder):
            raise StampError(f"{folder}: a model without a mask head", "`stamp-train run` trains one: model.start")
        processor = StampProcessor.from_pretrained(folder)
        model = load_checkpoint(folder, dtype=dtype or "auto")
        check_rows(model, processor.chat)
        return model, processor
    from stamp_train.predict.adapters import open_adapter  # needs peft

    model, processor = open_adapter(folder, base)
    return (model if dtype is None else model.to(dtype)), processor
