"""The things that are known to be in a picture: single ones of what is asked for, and what an annotation tells of besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stamp_data import rle as rles
from stamp_data.build.scene import UNKNOWN, Box, Scene, Thing
from stamp_data.frame import Seen
from stamp_data.masks import RegionFault, paint
from stamp_data.picture import Picture
from stamp_data.text import EXPRESSION_LIMIT, TextFault, clean
from stamp_schemas import Annotation, Region, Target, TargetInfo


def known(
    annotation: Annotation, picture: Picture, view: Seen, made: Mapping[int, TargetInfo]
) -> tuple[Scene, dict[int, str]]:
    """The scene of an annotation's picture, and of each target that is one thing of it, by index, the id of that.

    view: the picture as the annotation means it. made: masks of targets, by index.
    """
    things: dict[str, Thing] = {}
    single: dict[int, str] = {}
    unclear: list[Target] = []
    for index, target in enumerate(annotation.targets):
        if len(target.instances) == 1 and index in made and _is_plain(target):
            name = single[index] = target.instances[0]
            thing = Thing(_name(target.categories), made[index].bbox)
            things[name] = thing if things.setdefault(name, thing) == thing else UNKNOWN
        elif target.regions or target.instances:
            unclear.append(target)
    for target in [*unclear, *annotation.others]:
        for name, regions, categories in _parts(target):
            if name not in things:
                things[name] = Thing(_name(categories), _box(regions, view))
    return Scene(things, picture.width, picture.height, picture.orientation != 1), single


def _parts(target: Target) -> list[tuple[str, Sequence[Region], list[str]]]:
    """(id, regions, categories) of each thing that a target is made of; without regions where nobody can tell which are its."""
    names, regions, categories = target.instances or [f"target {target.id}"], target.regions, target.categories
    if len(names) == 1:
        return [(names[0], regions if _is_plain(target) else (), categories)]
    if len(names) == len(regions) == len(categories) and _is_plain(target):
        return [(name, [region], [one]) for name, region, one in zip(names, regions, categories, strict=True)]
    alike = categories if len(set(categories)) == 1 else []
    return [(name, (), alike) for name in names]


def _is_plain(target: Target) -> bool:
    """Whether it has regions, and none that is to be ignored: nobody knows what, and how many, these are."""
    return bool(target.regions) and all(region.role == "target" for region in target.regions)


def _name(categories: Sequence[str]) -> str:
    """What a thing of these categories is called; "" if that is not one name."""
    if len(set(categories)) != 1:
        return ""
    try:
        name, removed = clean(categories[0].replace("_", " "), EXPRESSION_LIMIT, one_line=True)
    except TextFault:
        return ""
    return "" if removed else name


def _box(regions: Sequence[Region], view: Seen) -> Box | None:
    if not regions:
        return None
    try:
        mask = view.stored(paint([*regions], view.height, view.width).mask)
    except RegionFault:
        return None
    return rles.bbox(mask) if rles.area(mask) else None
