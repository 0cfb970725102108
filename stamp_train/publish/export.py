"""Models to hand on: plain Hugging Face folders with processor and model card."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError

from stamp_data.writing import replace_folder
from stamp_schemas import StampError, UsageFault
from stamp_train.backbones.load import check_folder
from stamp_train.backbones.saving import save_model
from stamp_train.predict.opening import load_folder
from stamp_train.publish.model_card import model_card
from stamp_train.train.folder import CONFIG, find_checkpoint

CARD = "README.md"


def export(
    checkpoint: Path,
    out: Path,
    results: Sequence[Path] = (),
    *,
    base: str | Path = "",
    text_only: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the model of a checkpoint as a folder that `Segmenter` and transformers open.

    Adapters are merged. The base class (`Qwen2VLForConditionalGeneration`) opens the folder as well; it answers in the
    same words and leaves the mask head aside. out: new folder, there whole or not at all; overwrite: or one with a model, which
    gives way. results: `results.json` of evaluations of this checkpoint, for the card. base: folder or hub name of the model
    that an adapter was trained on, if it comes by itself, such as the published 7B one, or if that model has moved. text_only:
    without the mask side, as the plain Qwen2-VL that programs which choose by architecture know. Gives the folder that was
    exported; UsageFault if `out` is taken or the results are of another model, StampError if checkpoint or results cannot be
    read, or the folder not be written.
    """
    source = find_checkpoint(checkpoint)
    _check_free(out, source, overwrite)
    if (source / CONFIG).is_file():
        check_folder(source)  # first: the card quotes from it
    card = model_card(source, out.resolve().name, results, base, text_only=text_only)
    model, processor = load_folder(source, base=base)

    def fill(folder: Path) -> None:
        save_model(model, processor, folder, text_only=text_only)
        (folder / CARD).write_text(card, encoding="utf-8")

    try:
        replace_folder(out, fill)
    except (OSError, SafetensorError, RuntimeError) as fault:  # safetensors and torch have their own for a full disk
        reason = getattr(fault, "strerror", None) or str(fault).splitlines()[0]
        raise StampError(f"{out}: not written: {reason}") from fault
    return source


def _check_free(out: Path, source: Path, overwrite: bool) -> None:
    """Refuse to write over what is not a model, or over the one that is being exported."""
    if not out.exists() or (out.is_dir() and not os.listdir(out)):  # noqa: PTH208 - only whether there is any
        return
    target, origin = out.resolve(), source.resolve()
    if target in (origin, *origin.parents) or origin in target.parents:
        raise UsageFault(f"{out} holds the checkpoint itself, or lies in it", "give another folder")
    if not overwrite:
        raise UsageFault(f"{out} is there already", "--overwrite replaces it")
    if not (out / CONFIG).is_file():
        raise UsageFault(f"{out} holds something other than a model, which is not replaced", "give another folder")
