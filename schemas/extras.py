"""Optional parts of the installation, and how to get them."""

from __future__ import annotations

from pathlib import Path

from stamp_schemas.errors import UsageFault

PROJECT = "stamp-seg"
EXTRAS = {
    "accelerate": "train",
    "huggingface_hub": "hub",
    "peft": "train",
    "safetensors": "train",
    "torch": "train",
    "transformers": "train",
    "yaml": "train",
    "deepspeed": "deepspeed",
    "flash_attn": "flash",
    "fsspec": "remote",
    "lmms_eval": "lmms",
    "ray": "ray",
    "cv2": "annotate",
    "anyio": "pages",
    "starlette": "pages",
    "uvicorn": "pages",
    "tensorboard": "trackers",
    "wandb": "trackers",
    "tokenizers": "tokenizer",
}
"""Module -> the extra of pyproject.toml that brings it."""


def lacking(what: str, extra: str) -> UsageFault:
    """The fault of a call that takes an extra which is not installed.

    what: what is not there or not possible, as a message begins.
    """
    return UsageFault(what, install_line(extra))


def lacking_module(fault: ModuleNotFoundError) -> UsageFault | None:
    """The same for a module that an import did not find; None if it is of no extra of ours."""
    module = (fault.name or "").partition(".")[0]
    return lacking(f"{module} is not installed", EXTRAS[module]) if module in EXTRAS else None


def install_line(extra: str) -> str:
    """The command that adds an extra, from where this installation came from: the project is on no package index."""
    from shlex import quote

    return f"pip install {quote(f'{_origin()}[{extra}]')}"


def _origin() -> str:
    """Folder or wheel that was installed; `.` for the project's folder where that is not known or gone."""
    from importlib.metadata import PackageNotFoundError, distribution
    from json import loads
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        told = distribution(PROJECT).read_text("direct_url.json")
    except PackageNotFoundError:
        told = None
    url = urlsplit(loads(told)["url"] if told else "")
    path = Path(url2pathname(url.path))
    return str(path) if url.scheme == "file" and path.exists() else "."
