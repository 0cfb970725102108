"""Names of the classes of sets that paint them as numbers."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import msgspec


@lru_cache
def class_names(dataset: str) -> dict[int, str]:
    """The names of a set's classes by the values of its pixels, as `classes.json` has them.

    ade20k: the 150 of SceneParse, of each the first of its names. coco_stuff: the 182 of COCO-Stuff.
    """
    data = files("stamp_data.sources.formats").joinpath("classes.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, dict[int, str]])[dataset]
