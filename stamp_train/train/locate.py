"""Where the weights are."""

from __future__ import annotations

from pathlib import Path

from xxhash import xxh3_64_hexdigest

from stamp_schemas import UsageFault
from stamp_train.train.resume import find
from stamp_train.train.runlog import CHECKPOINTS, FINAL, RECIPE

CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
ADAPTER = Path("adapter", ADAPTER_CONFIG)  # in a LoRA checkpoint of a run


def find_checkpoint(path: Path) -> Path:
    """The folder that holds the weights: `path` itself or, in the folder of a run, its finished model or newest checkpoint.

    Raises:
        UsageFault: there is none.
    """
    if not path.is_dir():
        raise UsageFault(f"{path}: no such checkpoint folder", "give the folder of a checkpoint or of a run")
    if _holds_model(path):
        return path
    if _holds_model(path / FINAL):
        return path / FINAL
    if (path / CHECKPOINTS).is_dir():
        for folder in reversed(find(path / CHECKPOINTS)):
            if _holds_model(folder):
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


def _holds_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (CONFIG, ADAPTER, ADAPTER_CONFIG))
