"""Refiners by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from stamp_train.predict.refine.faults import HOW_TO_GET_WEIGHTS, RefinerFault, on_one_line
from stamp_train.predict.refine.network import Network
from stamp_train.predict.refine.presets import PRESETS, Preset
from stamp_train.predict.refine.refiner import Refiner, Say, Steady, Unrefined, to_stderr
from stamp_train.predict.refine.sam import SamRefiner

SAM, PACKAGE = KINDS = ("sam", "segment-anything")


def load_refiner(
    spec: str,
    device: torch.device | str = "cpu",
    preset: str | Preset = "stamp",
    seed: int = 0,
    rounds: int | None = None,
    say: Say = to_stderr,
    *,
    optional: bool = False,
) -> Refiner:
    """The refiner of a specification.

    Args:
        spec: `sam:PATH` with an official `sam_vit_{b,l,h}_*.pth` file, a Hugging Face folder or a model in the Hugging Face
            cache, on transformers' classes; `segment-anything:PATH` with an official file, on that package. Nothing is
            downloaded.
        device: where SAM runs, in float32.
        preset: `stamp`, `published` (see `PRESETS`) or settings of your own.
        seed: of the points.
        rounds: instead of the preset's.
        say: gets one line for each kind of failure; stderr by default.
        optional: where it cannot be had, that is said, and what comes back leaves masks as they are; its `name` is `none`.

    Raises:
        RefinerFault: it cannot be had, and is not optional.
    """
    try:
        return Steady(open_refiner(spec, device, preset, seed, rounds), say)
    except Exception as error:  # whatever opening it dies of, in the libraries too, is one line
        fault = error if isinstance(error, RefinerFault) else _fault_of(error)
        if optional:
            say(f"--refine {spec}: {fault}; masks stay unrefined")
            return Unrefined()
        hint = f"{fault.hint}; --refine-optional goes on unrefined".removeprefix("; ")
        raise RefinerFault(f"--refine {spec}: {fault.message}", hint) from error


def _fault_of(error: Exception) -> RefinerFault:
    return RefinerFault(f"{type(error).__name__}: {on_one_line(error)}")


def open_refiner(
    spec: str, device: torch.device | str, preset: str | Preset, seed: int, rounds: int | None
) -> SamRefiner:
    """As `load_refiner`, but raises.

    Raises:
        RefinerFault: no such kind or preset, or no weights that fit.
    """
    kind, _, path = spec.partition(":")
    if kind not in KINDS or not path:
        raise RefinerFault(
            "no such refiner", f"one of {', '.join(f'{kind}:PATH' for kind in KINDS)}; {HOW_TO_GET_WEIGHTS}"
        )
    settings = _preset(preset)
    label = preset if isinstance(preset, str) else "custom"
    if rounds is not None:
        if rounds < 1:
            raise RefinerFault(f"{rounds} rounds refine nothing", "1 or more")
        settings = replace(settings, rounds=rounds)
    name = f"{kind}:{Path(path).name} ({label}, rounds {settings.rounds}, seed {seed})"
    return SamRefiner(_network(kind, path, torch.device(device)), settings, seed, name)


def _preset(preset: str | Preset) -> Preset:
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise RefinerFault(f"no preset {preset!r}", f"one of {', '.join(PRESETS)}")
    return PRESETS[preset]


def _network(kind: str, path: str, device: torch.device) -> Network:
    # Each library is loaded only where it is asked for.
    if kind == SAM:
        from stamp_train.predict.refine.transformers_sam import open_transformers_sam

        return open_transformers_sam(path, device)
    from stamp_train.predict.refine.package_sam import open_package_sam

    return open_package_sam(path, device)
