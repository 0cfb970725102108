"""Models that come with the package, called by their names; each folder has a model card that says how it was made."""

from __future__ import annotations

from pathlib import Path

_WEIGHTS = Path(__file__).with_name("weights")


def packaged(name: str | Path) -> Path | None:
    """The folder of a model that comes with the package, such as `tiny-base`; None if there is none of that name.

    A folder of the user's own comes first, whatever it is called.
    """
    name = str(name)
    if Path(name).is_dir() or Path(name).name != name:
        return None
    folder = _WEIGHTS / name
    return folder if name and folder.is_dir() else None
