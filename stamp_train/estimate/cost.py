"""Memory per device and time of a stage, from sizes and token counts: an estimate, whose assumptions are named here.

Multiply-adds count as two operations, a backward pass as two forward passes, or one where weights take no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

from stamp_schemas.recipe import Recipe
from stamp_train.estimate.architecture import Architecture
from stamp_train.estimate.devices import Device
from stamp_train.estimate.workload import Work
from stamp_train.recipes.deepspeed import deepspeed_config

UTILISATION = 0.35  # fraction of the stated speed that training reaches; an assumption, not a measurement
_WEIGHT, _ADAM, _GRADIENT = 4, 8, 4  # bytes per parameter: float32 weights and gradients, two moments
_GIB = 2.0**30
_PATCHES = 4  # of the vision tower in a merged patch
_ALL = 3  # stage of ZeRO that cuts up weights as well


@dataclass(frozen=True)
class Memory:
    """GiB on each device. weights: of all parameters; training: gradients and moments; activations: of one pack."""

    weights: float
    training: float
    activations: float

    @property
    def total(self) -> float:
        return self.weights + self.training + self.activations


def memory(recipe: Recipe, sizes: Architecture, devices: int = 1) -> Memory:
    """Memory of one device of so many, each with a copy of everything or, by `recipe.engine`, a part.

    UsageFault: DeepSpeed's configuration is at fault.
    """
    trained = sizes.trained(freeze_vision=recipe.model.freeze_vision)
    width = 2.0 if recipe.model.precision == "bf16" else 4.0  # bytes of an activation
    lay_out = _by_deepspeed if recipe.engine == "deepspeed" else _by_torch
    weights, training, gathered = lay_out(recipe, sizes, trained, width, devices)
    return Memory(weights / _GIB, training / _GIB, (_activations(recipe, sizes, width) + gathered) / _GIB)


def _activations(recipe: Recipe, sizes: Architecture, width: float) -> float:
    """Bytes that a pack of the largest size keeps for its backward pass."""
    tokens = recipe.batch.pack_tokens
    # What a layer keeps for its backward pass, per token: input, norms, q k v, attention, MLP halves and product.
    language = width * (9 * sizes.hidden + 3 * sizes.inner)
    # Of an image as large as they come, with a mask in each of the dialogues that share its pass.
    image, dialogues = recipe.data.max_tokens, recipe.batch.dialogues_per_image
    masks: float = dialogues * recipe.method.tokens_per_mask(image) / image
    masks += dialogues - 1 if recipe.method.looks_ahead else 0  # the image's own tokens, again in every other dialogue
    patches = _PATCHES * tokens / (1 + masks)
    vision = width * (9 + 3 * 4) * sizes.vision_width
    if recipe.model.gradient_checkpointing:
        kept = sizes.layers * width * sizes.hidden * tokens + language * tokens
        kept += sizes.vision_layers * width * sizes.vision_width * patches + vision * patches
    else:
        kept = sizes.layers * language * tokens + sizes.vision_layers * vision * patches
    # Answers are a small part of a pack, most of which is image and mask tokens; but for masks that are answers.
    supervised: float = (0.05 + (masks / (1 + masks) if recipe.method.written else 0)) * tokens
    return kept + supervised * sizes.vocabulary * (4 + 4 + width)


def _by_torch(
    recipe: Recipe, sizes: Architecture, trained: float, width: float, devices: int
) -> tuple[float, float, float]:
    """Bytes of weights, of gradients and moments, and of weights that are gathered or cast while layers run."""
    # Under an adapter the base is frozen, in the precision of the layers; what is trained is always float32.
    weights = _WEIGHT * sizes.adapter + width * sizes.parameters if sizes.adapter else _WEIGHT * sizes.parameters
    gathered = 0.0
    if recipe.engine == "fsdp":
        gathered = _one_layer(sizes, width)
    elif recipe.engine == "fsdp-zero2":
        gathered = width * sizes.parameters
    elif recipe.model.precision == "bf16":
        gathered = width * trained  # autocast keeps a cast copy of float32 weights during a pass
    parts = 1 if recipe.engine == "ddp" else devices
    return weights / parts, (_ADAM + _GRADIENT) * trained / parts, gathered


def _by_deepspeed(
    recipe: Recipe, sizes: Architecture, trained: float, width: float, devices: int
) -> tuple[float, float, float]:
    """As `_by_torch`. Layers have weights in their own precision, the optimizer float32 ones, which may be offloaded."""
    zero = deepspeed_config(recipe)["zero_optimization"]
    stage = zero["stage"]
    layers = width * (sizes.parameters + sizes.adapter) / (devices if stage == _ALL else 1)
    gradients = _GRADIENT * trained / (1 if stage == 1 else devices)
    offloaded = (zero.get("offload_optimizer") or {}).get("device", "none") != "none"
    behind, moments = (0.0, 0.0) if offloaded else (_WEIGHT * trained / devices, _ADAM * trained / devices)
    return layers + behind, gradients + moments, _one_layer(sizes, width) if stage == _ALL else 0.0


def _one_layer(sizes: Architecture, width: float) -> float:
    """Bytes that are whole at a time where all weights are in shards."""
    return width * (sizes.embeddings + sizes.language / sizes.layers)


def operations(recipe: Recipe, sizes: Architecture, work: Work, *, repeated: bool = False) -> float:
    """Floating-point operations that so much work needs, forward and backward.

    repeated: with the forward passes that gradient checkpointing runs again, which the work itself does not need.
    """
    visible = work.tokens / max(work.dialogues, 1)  # keys that a token sees, within a factor of two
    language = work.tokens * (2 * sizes.language + 4 * sizes.layers * sizes.hidden * visible)
    text = work.text + (work.mask if recipe.method.written else 0)
    language += 2 * text * sizes.hidden * sizes.vocabulary
    patches = _PATCHES * work.image
    per_picture = patches / max(work.visits, 1)
    tower = sizes.vision - sizes.merger
    vision = patches * (2 * tower + 4 * sizes.vision_layers * sizes.vision_width * per_picture)
    vision += 2 * work.image * sizes.merger
    again = 1 if repeated and recipe.model.gradient_checkpointing else 0
    frozen = recipe.model.freeze_vision or bool(sizes.adapter)
    return language * ((2 if sizes.adapter else 3) + again) + vision * (1 if frozen else 3 + again)


def hours(needed: float, device: Device, devices: int) -> float | None:
    """Time of so many operations on that many devices, if reading keeps up; None where their speed is not known."""
    return needed / (device.teraflops * 1e12 * UTILISATION * devices) / 3600 if device.teraflops else None
