"""DeepSpeed's own configuration file, completed from the recipe, which alone decides what both could say.

Importing this needs neither torch nor DeepSpeed.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from stamp_schemas import UsageFault
from stamp_schemas.extras import lacking
from stamp_schemas.recipe import Recipe

AUTO = "auto"  # in a file: as the recipe says, or else DeepSpeed's default
_COUNTS = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
_SCHEDULERS = {"linear": "WarmupDecayLR", "constant": "WarmupLR"}
_OTHER_PRECISIONS = ("fp16.enabled", "amp.enabled", "torch_autocast.enabled")
_NEVER = 10**9  # steps between two reports on stdout, which is for results


def deepspeed_config(recipe: Recipe) -> dict[str, Any]:
    """What DeepSpeed is told: the file that `recipe.deepspeed` names, or ZeRO stage 2; with nothing left at `auto`.

    UsageFault: no such file, no JSON, or a value that contradicts the recipe.
    """
    name = recipe.deepspeed or "deepspeed"
    given = _read(Path(recipe.deepspeed)) if recipe.deepspeed else {"zero_optimization": {"stage": 2}}
    _check_zero(given.get("zero_optimization"), name)
    _check_recipe(given, recipe, name)
    rest = {key: value for key, value in given.items() if key not in ("optimizer", "scheduler")}
    half = recipe.model.precision == "bf16"
    kept: dict[str, Any] = {
        "steps_per_print": _NEVER,
        "zero_force_ds_cpu_optimizer": False,  # torch's AdamW has a fast kernel for CPUs as well
        "communication_data_type": "fp32",  # gradients are summed as under the other engines
        **_without_auto(rest),
        # Packs of a step are counted by the loop: any number of them, of any number of dialogues.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": recipe.optimizer.clip,
    }
    if half:
        kept["bf16"] = {**kept.get("bf16", {}), "enabled": True}
        kept["data_types"] = {"grad_accum_dtype": "fp32", **_section(kept, "data_types", name)}
    return kept


def check_deepspeed(recipe: Recipe) -> None:
    """Whether a run by DeepSpeed can begin here; nothing for other engines.

    UsageFault: it is not installed, or as `deepspeed_config`.
    """
    if recipe.engine != "deepspeed":
        return
    deepspeed_config(recipe)
    if importlib.util.find_spec("deepspeed") is None:
        raise lacking("engine: deepspeed is not installed", "deepspeed")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise UsageFault(f"deepspeed: {path}: not a readable JSON file: {fault}") from None
    if not isinstance(found, dict):
        raise UsageFault(f"deepspeed: {path}: not a JSON object", "see https://www.deepspeed.ai/docs/config-json")
    return found


def _check_zero(zero: Any, name: str) -> None:
    """Refuse what has no ZeRO, or moments that no checkpoint could be made of."""
    stage = zero.get("stage") if isinstance(zero, dict) else None
    if stage not in (1, 2, 3):
        raise UsageFault(
            f"{name}: zero_optimization.stage is {json.dumps(stage)}, not 1, 2 or 3",
            "copies of everything are engine: ddp",
        )
    if not zero.get("compute_grad_norm", True):
        raise UsageFault(
            f"{name}: zero_optimization.compute_grad_norm is false, but every step logs that norm", "leave it out"
        )
    for part in ("offload_optimizer", "offload_param"):
        offload = zero.get(part)
        if isinstance(offload, dict) and offload.get("device") == "nvme":
            raise UsageFault(
                f"{name}: zero_optimization.{part}.device nvme: checkpoints need what is offloaded in memory", "use cpu"
            )


def _check_recipe(given: dict[str, Any], recipe: Recipe, name: str) -> None:
    """Refuse the first value that is not `auto` and not the recipe's."""
    optimizer, precision = recipe.optimizer, recipe.model.precision
    decided: dict[str, tuple[Any, str, Any]] = {  # their key -> what it may say beside `auto`, our key, our value
        **dict.fromkeys(_COUNTS, (AUTO, "batch", "by dialogues and tokens")),
        "gradient_clipping": (optimizer.clip, "optimizer.clip", optimizer.clip),
        "bf16.enabled": (precision == "bf16", "model.precision", precision),
        **dict.fromkeys(_OTHER_PRECISIONS, (False, "model.precision", precision)),
        "optimizer.type": ("AdamW", "optimizer", "AdamW"),
        "scheduler.type": (_SCHEDULERS[optimizer.schedule], "optimizer.schedule", optimizer.schedule),
    }
    for path, (right, ours, value) in decided.items():
        section, _, key = path.rpartition(".")
        found = (_section(given, section, name) if section else given).get(key, AUTO)
        if found not in (AUTO, right):
            raise _contradiction(name, path, found, ours, value)
    for section in ("optimizer", "scheduler"):
        for setting, found in _section(_section(given, section, name), "params", name).items():
            if found != AUTO:
                raise _contradiction(name, f"{section}.params.{setting}", found, "section", "optimizer")


def _section(given: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    found = given.get(key, {})
    if not isinstance(found, dict):
        raise UsageFault(f"{name}: {key} is not a JSON object")
    return found


def _contradiction(name: str, key: str, value: Any, ours: str, right: Any) -> UsageFault:
    return UsageFault(
        f"{name}: {key} is {json.dumps(value)}, but the recipe decides that ({ours}: {right})",
        f'leave {key} out, or say "auto"',
    )


def _without_auto(tree: dict[str, Any]) -> dict[str, Any]:
    """Keys at `auto` left out."""
    return {
        key: _without_auto(value) if isinstance(value, dict) else value for key, value in tree.items() if value != AUTO
    }
