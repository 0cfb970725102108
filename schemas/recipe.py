"""A training recipe: everything that decides a run, apart from the machines that it runs on.

Recipes are YAML files; `stamp_train.recipes` reads them and says where each value came from.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from stamp_schemas.choices import Upsampling

Positive = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Above = Annotated[float, msgspec.Meta(gt=0)]


class Part(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A section of a recipe; keys that it does not know are refused."""


class Lora(Part, frozen=True):
    """Adapter on the language model, used with `tuning: lora`.

    rank, alpha: of the added matrices, and their scale, alpha / rank. style: which layers get one, see
    `stamp_train.backbones.lora.lora_config`.
    """

    rank: Positive = 64
    alpha: Positive = 128
    style: Literal["default", "published"] = "default"


class Shape(Part, frozen=True):
    """Another size than the preset's; 0 keeps that.

    layers, hidden: of the language model. heads, kv_heads: of its attention; kv_heads divides heads, and hidden / heads is a
    multiple of 16. vision_layers, vision_width, vision_heads: of the vision tower. initializer_range: standard deviation of the
    random weights. rope_theta: base of the language model's rotary positions; its columns turn slowest, so that in a narrow
    picture they are told apart only where it is small.
    """

    layers: Count = 0
    hidden: Count = 0
    heads: Count = 0
    kv_heads: Count = 0
    vision_layers: Count = 0
    vision_width: Count = 0
    vision_heads: Count = 0
    initializer_range: Amount = 0.0
    rope_theta: Amount = 0.0


class Model(Part, frozen=True):
    """The network that is trained.

    start: folder or hub name of a base model or of a STAMP checkpoint, whose own settings then count; `tiny-base` comes
    with the package. preset: begin at
    random weights of that size instead, or of `shape`. tokenizer: of a preset, folder or name; if empty, one of `vocabulary`
    tokens is trained on the texts of the stages, or every byte is a token if that is 0. vocabulary: tokens of such a
    tokenizer. tuning: all weights, or adapters (`lora`). freeze_vision: the vision tower keeps its weights.
    gradient_checkpointing: layers are computed twice, and their activations not kept. precision: of layers; weights of the
    optimizer are float32. attention: `auto` is the fastest that works here, which `stamp-train env` names.
    """

    start: str = ""
    preset: Literal[
        "",
        "tiny",
        "2b",
        "7b",
        "qwen2.5-tiny",
        "qwen2.5-3b",
        "qwen2.5-7b",
        "qwen3-tiny",
        "qwen3-2b",
        "qwen3-4b",
        "qwen3-8b",
    ] = ""
    shape: Shape = Shape()
    tokenizer: str = ""
    vocabulary: Count = 0
    tuning: Literal["full", "lora"] = "full"
    lora: Lora = Lora()
    freeze_vision: bool = False
    gradient_checkpointing: bool = False
    precision: Literal["bf16", "float32"] = "bf16"
    attention: Literal["auto", "sdpa", "segments", "flex", "flash"] = "auto"

    def __post_init__(self) -> None:
        if bool(self.start) == bool(self.preset):
            raise ValueError("give either `start` (weights to begin with) or `preset` (random weights of a size)")

    @property
    def tower_learns(self) -> bool:
        """Whether the vision tower is trained; adapters are the language model's alone."""
        return not self.freeze_vision and self.tuning == "full"


class Cache(Part, frozen=True):
    """Whole shards kept on a disk of the machine, for sets that lie far away. folder: "" for none. limit: GB of shards in it.

    Processes and runs share it; those that were not used for longest leave first.
    """

    folder: str = ""
    limit: Above = 100.0


class Data(Part, frozen=True):
    """Where the sets are, and how large the model sees their images.

    root: folder or URL (`https:`, `s3:`, …) below which the built sets lie. min_tokens, max_tokens: bounds of merged patches
    per image.
    threads: read and decode ahead, 0 = none. max_bad_ratio: the run stops when more of its records are unreadable.
    store_patience: seconds in which a read that fails is tried again.
    """

    root: str = "shards"
    min_tokens: Positive = 1024
    max_tokens: Positive = 1280
    threads: Count = 2
    max_bad_ratio: Fraction = 0.001
    cache: Cache = Cache()
    store_patience: Above = 600.0

    def __post_init__(self) -> None:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens {self.min_tokens} is more than max_tokens {self.max_tokens}")


class Batch(Part, frozen=True):
    """The global batch, whatever the number of devices.

    dialogues: in one optimizer step. dialogues_per_image: at most this many of one image share its vision pass.
    pack_tokens: bound of one forward pass on one device; smaller packs mean more accumulation, equal gradients.
    """

    dialogues: Positive = 96
    dialogues_per_image: Positive = 4
    pack_tokens: Positive = 24576


class Optimizer(Part, frozen=True):
    """How AdamW moves the weights. A stage begins a new schedule.

    learning_rate, betas, weight_decay: as of AdamW. schedule: after the warm-up, falling to 0 or staying. clip: largest norm of
    the gradient. warmup: fraction of each stage's steps.
    """

    learning_rate: Above = 3e-5
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: Amount = 0.0
    clip: Above = 1.0
    warmup: Fraction = 0.03
    schedule: Literal["linear", "constant"] = "linear"


class SetUse(Part, frozen=True):
    """One built set in a stage. set: its folder under `data.root`. passes: how often one epoch goes over it."""

    set: str
    passes: Above = 1.0


class Stage(Part, frozen=True):
    """A stretch of training with a schedule and an optimizer of its own; it continues the weights of the one before.

    Its length is either `epochs` or `steps`. name: in the log. epochs: passes over its sets. steps: of the optimizer.
    """

    name: str
    sets: Annotated[list[SetUse], msgspec.Meta(min_length=1)]
    epochs: Amount = 0.0
    steps: Count = 0

    def __post_init__(self) -> None:
        if (self.epochs > 0) == (self.steps > 0):
            raise ValueError("give either `epochs` or `steps`; the other is 0")


class Evaluation(Part, frozen=True):
    """Held-out sets. sets: their folders under `data.root`. every: steps between evaluations, 0 = only at the end. records: at
    most this many of each set.

    images: samples that are drawn with true and predicted mask. upsampling: of masks to the picture's size, see
    `stamp_train.methods.upsample`.
    """

    sets: list[str] = []
    every: Count = 0
    records: Positive = 200
    images: Count = 8
    upsampling: Upsampling = "bilinear"


class Saving(Part, frozen=True):
    """Checkpoints. every: steps between two. keep: the newest so many stay. best: metric whose best one stays as well."""

    every: Positive = 1000
    keep: Positive = 2
    best: Literal["", "ciou", "text_accuracy"] = ""


class Recipe(Part, frozen=True, kw_only=True):
    """A whole run.

    about: one line of what it is. method: its name and settings, see `stamp_train.methods`. threads: of torch on a CPU, 0 = its
    own choice. seed: of the order of the data, of random weights and adapters. trackers: told beside log.jsonl.

    patience: seconds that processes wait for one that hangs, before the others end; far more than any step takes.

    engine: every process holds the whole model (`ddp`) or a part of it (`fsdp`); `fsdp-zero2` keeps layers whole from
    forward to backward pass, for more memory and less communication. `deepspeed`: by ZeRO, as a JSON file of DeepSpeed's own
    says that `deepspeed` names; stage 2 without one. deepspeed: that file.
    """

    about: str
    model: Model
    method: Any = msgspec.field(default_factory=dict)  # `stamp_train.recipes` reads it into the method's own settings
    stages: Annotated[list[Stage], msgspec.Meta(min_length=1)]
    data: Data = Data()
    batch: Batch = Batch()
    optimizer: Optimizer = Optimizer()
    evaluation: Evaluation = Evaluation()
    saving: Saving = Saving()
    engine: Literal["ddp", "fsdp", "fsdp-zero2", "deepspeed"] = "ddp"
    deepspeed: str = ""
    trackers: list[Literal["tensorboard", "wandb"]] = []
    patience: Above = 600.0
    seed: Count = 0
    threads: Count = 0

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("two stages have the same name")
        if self.deepspeed and self.engine != "deepspeed":
            raise ValueError(f"deepspeed: {self.deepspeed} is of no use to engine {self.engine}; set engine: deepspeed")
        if self.saving.best and not (self.evaluation.sets and self.evaluation.every):
            raise ValueError(f"saving.best {self.saving.best} needs evaluation.sets and evaluation.every")
