"""The folder of a run: what its files are called, its checkpoints and how far each is, and where its weights are.

OUT/recipe.yaml                  the recipe, every value with its origin
OUT/deepspeed.json               what DeepSpeed was told, of a run by it
OUT/log.jsonl                    one row per step
OUT/evaluations.jsonl            metrics on held-out records
OUT/predictions/                 some of them, with the true mask and the predicted one
OUT/checkpoints/step-000100/     what to go on from
OUT/quarantine.jsonl             records that could not be read
OUT/final/                       the finished model
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from xxhash import xxh3_64_hexdigest

from stamp_schemas import StampError, UsageFault
from stamp_train.backbones.base import packaged

RECIPE, DEEPSPEED, LOG, EVALUATIONS = "recipe.yaml", "deepspeed.json", "log.jsonl", "evaluations.jsonl"
CHECKPOINTS, FINAL = "checkpoints", "final"
STATE = "state.json"  # of a checkpoint
CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
ADAPTER = Path("adapter", ADAPTER_CONFIG)  # in a LoRA checkpoint of a run
EARLIER = "--resume auto goes on from the newest checkpoint that is whole"
_LARGEST_STATE = 1 << 20  # bytes; they are some hundred
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is. step: done, over all stages; stage_step: of the stage. stream: the loader's state.

    metrics: of the last evaluation, if it was at this step.
    """

    step: _Count = 0
    stage: _Count = 0
    stage_step: _Count = 0
    stream: dict[str, str | int] = {}
    metrics: dict[str, float] = {}


def find(folder: Path) -> list[Path]:
    """The complete checkpoints of `OUT/checkpoints`, oldest first."""
    complete = (path for path in folder.glob("step-*") if (path / STATE).is_file())
    return sorted(complete, key=lambda path: (len(path.name), path.name))  # the millionth step has a digit more


def read_progress(checkpoint: Path) -> Progress:
    """How far the run was. UsageFault: no checkpoint of ours. StampError: its state is damaged."""
    path = checkpoint / STATE
    if not path.is_file():
        raise UsageFault(f"{checkpoint}: not a checkpoint of a run: no {STATE}")
    try:
        data = path.read_bytes() if path.stat().st_size <= _LARGEST_STATE else b""
        return msgspec.json.decode(data, type=Progress)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise StampError(f"{path}: damaged: {fault}", EARLIER) from None


def find_checkpoint(path: Path) -> Path:
    """The folder that holds the weights: `path` itself or, in the folder of a run, its finished model or newest checkpoint; or
    what comes with the package under that name. UsageFault: there is none.
    """
    path = packaged(path) or path
    if not path.is_dir():
        raise UsageFault(f"{path}: no such checkpoint folder", "give the folder of a checkpoint or of a run")
    for folder in (path, path / FINAL, *reversed(find(path / CHECKPOINTS))):
        if any((folder / name).is_file() for name in (CONFIG, ADAPTER, ADAPTER_CONFIG)):
            return folder
    raise UsageFault(f"{path}: holds no model: no {CONFIG}", "give the folder of a checkpoint or of a run")


def fingerprint(folder: Path) -> str:
    """Changes when the weights of a checkpoint are written anew: a hash of their files' names, sizes and times."""
    files = sorted((*folder.glob("*.safetensors"), *folder.glob(f"{ADAPTER.parent}/*.safetensors")))
    facts = [f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return xxh3_64_hexdigest("\n".join(facts).encode())


def run_folder(checkpoint: Path) -> Path | None:
    """The folder of the run that wrote a checkpoint, None if it does not lie in one."""
    nearest = checkpoint.resolve().parents[:2]  # OUT/final, OUT/checkpoints/step-000100
    return next((folder for folder in nearest if (folder / RECIPE).is_file()), None)
