"""Base models: folders, names on the Hugging Face hub or of the package, and what an adapter remembers of the one that it was
trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from stamp_data.writing import json_text
from stamp_schemas import StampError, UsageFault
from stamp_train.backbones.folder import digest

RECORD = "base.json"  # beside an adapter's weights
_WEIGHTS = Path(__file__).with_name("weights")  # of the package; each folder has a card that says how it was made
_FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja"]


class Base(msgspec.Struct, frozen=True):
    """The model that an adapter belongs to, and what else it takes to open it again.

    start: absolute path, or a name: of the hub or of the package. digest: see `stamp_train.backbones.folder`. stamp: the
    settings that config.json has under that name. dtype: of the layers. Adapters of earlier versions do not say the last two.
    """

    start: str
    digest: str
    stamp: dict[str, Any] | None = None
    dtype: str = ""


def packaged(name: str | Path) -> Path | None:
    """The folder of a model that comes with the package, such as `tiny-base`; None if there is none of that name.

    A folder of the user's own comes first, whatever it is called.
    """
    name = str(name)
    if Path(name).is_dir() or Path(name).name != name:
        return None
    folder = _WEIGHTS / name
    return folder if name and folder.is_dir() else None


def find(start: str) -> Path | None:
    """The folder of a base model on this machine; None for a name that is not in the hub's cache. UsageFault if there is
    no such folder, and it is no name either."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    folder = packaged(start) or Path(start).expanduser()
    if folder.is_dir():
        return folder
    if not _may_be_name(start):
        raise UsageFault(
            f"{start}: no such folder", "give the folder of a model, its name on the Hugging Face hub, or tiny-base"
        )
    try:
        return Path(snapshot_download(start, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def fetch(start: str) -> Path:
    """The folder of a base model, downloaded into the hub's cache where that lacks it. UsageFault as `find`, StampError if the
    hub does not give it."""
    from huggingface_hub import snapshot_download

    folder = find(start)
    if folder is not None and folder in (packaged(start), Path(start).expanduser()):
        return folder
    try:
        return Path(snapshot_download(start, allow_patterns=_FILES))
    except Exception as fault:  # the client's HTTP library, and so its exceptions, differ between versions
        raise _not_given(start, fault) from None


def check_reachable(start: str) -> None:
    """Look whether the hub would give a model that its cache lacks, StampError if not; nothing is downloaded."""
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(start, timeout=10)
    except Exception as fault:  # as in `fetch`
        raise _not_given(start, fault) from None


def base_of(start: str, folder: Path, network: Any = None) -> Base:
    """What an adapter that is trained on a folder, opened as that network, remembers of it. StampModelError: weights that are
    damaged or missing."""
    local = Path(start).expanduser()
    place = str(local.resolve()) if local.is_dir() else start
    if network is None:
        return Base(place, digest(folder))
    return Base(place, digest(folder), network.config.stamp, str(network.dtype).removeprefix("torch."))


def write_base(adapter: Path, base: Base) -> None:
    """Keep it beside an adapter."""
    (adapter / RECORD).write_bytes(json_text(base))


def read_base(adapter: Path) -> Base | None:
    """What an adapter says of its base; None if it says nothing, as one of other programs. StampError: the file is damaged."""
    try:
        return msgspec.json.decode((adapter / RECORD).read_bytes(), type=Base)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise StampError(f"{adapter / RECORD}: damaged: {fault}") from None


def check_base(adapter: Path, folder: Path) -> None:
    """Refuse a model that is not the one which an adapter was trained on; StampError also if its weights are damaged."""
    known = read_base(adapter)
    if known is not None and known.digest != (found := digest(folder)):
        raise StampError(
            f"{folder}: not the model that {adapter} was trained on ({known.start}): its weights have digest {found}, "
            f"not {known.digest}",
            "--base FOLDER names where that one is now",
        )


def _may_be_name(start: str) -> bool:
    """Whether it could be `owner/name`."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # not in its __all__

    owner, slash, _ = start.partition("/")
    if not slash or start.startswith((".", "~")) or Path(owner).is_dir():
        return False
    try:
        validate_repo_id(start)
    except HFValidationError:
        return False
    return True


def _not_given(start: str, fault: Exception) -> StampError:
    reason = next((line for line in str(fault).splitlines() if line.strip()), type(fault).__name__)
    return StampError(
        f"{start}: no such folder here, not in the cache of the Hugging Face hub, and the hub does not give it: {reason}",
        f"where there is a network, `hf download {start}` fills the cache; or give the folder of a model",
    )
