"""What Python programs may use: signatures and docstrings of the modules that are meant for them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

# Title -> (module, its names, with the methods of a class behind a colon).
API: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "Using a checkpoint": (
        ("stamp_train.predict.segmenter", ("Segmenter: from_pretrained segment segment_all outcomes chat",)),
        ("stamp_train.predict.segmentation", ("Segmentation: image_size overlay",)),
        ("stamp_train.predict.dialogue", ("Chat: say stream undo messages",)),
        ("stamp_train.predict.requests", ("Request", "question")),
        ("stamp_train.predict.refine.refiner", ("load_refiner",)),
        ("stamp_train.methods.upsample", ("probabilities", "to_mask")),
    ),
    "Reading shard sets": (
        ("stamp_data.shards.reader", ("ShardSet: rows find member record labels load", "Loaded")),
        ("stamp_data.shards.manifest", ("read_manifest", "find_sets")),
        ("stamp_data.pixels", ("decode_picture",)),
        ("stamp_data.rle", ("encode", "decode", "checked", "area", "bbox", "union", "iou")),
        ("stamp_data.grid", ("patch_grid", "coverage", "rle_coverage")),
        ("stamp_schemas.jsonschema", ("json_schema",)),
    ),
    "Making and checking them": (
        ("stamp_data.build.jobs", ("Job", "run_job")),
        ("stamp_data.sources.base", ("Source",)),
        ("stamp_data.verify.sets", ("verify_set",)),
        ("stamp_data.inspect.inspection", ("inspect_sets",)),
        ("stamp_data.export", ("export_sets",)),
        ("stamp_data.synth", ("synthesize",)),
    ),
    "Recipes and what a step sees": (
        ("stamp_train.recipes.resolve", ("names", "resolve", "Resolved: leaves yaml")),
        ("stamp_train.stream.mixture", ("Mixture: rates",)),
        ("stamp_train.stream.plan", ("Plan: digest steps batch draw name",)),
    ),
    "Scores": (
        ("stamp_train.eval.metrics", ("score_case", "CaseScore", "Summary: add metrics", "convention")),
    ),
    "Faults": (("stamp_schemas.errors", ("StampError", "UsageFault")),),
}  # fmt: skip


def modules() -> list[ModuleType]:
    """Every module of the page, whose examples are run by a test."""
    return [import_module(name) for group in API.values() for name, _ in group]


def page() -> str:
    parts = [
        "# Python",
        "What is meant for programs of others. Names that are not here, and those that begin with `_`, may change at any time. "
        "Examples are run by a test. Every fault that is yours or the data's is a `StampError`.",
    ]
    for title, group in API.items():
        parts.append(f"## {title}")
        for name, members in group:
            parts += _module(name, members)
    return "\n\n".join(parts)


def _module(name: str, members: tuple[str, ...]) -> Iterator[str]:
    module = import_module(name)
    shown = name.removesuffix(".segmenter")  # whose names the package gives
    if ">>>" in (module.__doc__ or ""):
        yield _prose(module)
    for member in members:
        called, _, methods = member.partition(": ")
        thing = getattr(module, called)
        yield f"### `{shown}.{called}`"
        if signature := _signature(thing, called):
            yield signature
        yield _prose(thing)
        for method in methods.split():
            found = inspect.getattr_static(thing, method)
            plain = found.__func__ if isinstance(found, classmethod | staticmethod) else found
            callable_ = inspect.isfunction(plain)
            yield f"#### `{called}.{method}{'()' if callable_ else ''}`"
            if callable_:
                yield _signature(plain, f"{called}.{method}")
            yield _prose(plain)


def _signature(thing: Any, name: str) -> str:
    try:
        found = inspect.signature(thing)
    except ValueError:
        return ""
    shown = [one for one in found.parameters.values() if one.name not in ("self", "cls")]
    text = f"{name}({', '.join(map(_parameter, _marked(shown)))})"
    if found.return_annotation is not inspect.Signature.empty and inspect.isfunction(thing):
        text += f" -> {_type(found.return_annotation)}"
    return f"```text\n{_wrapped(text)}\n```"


def _marked(parameters: list[inspect.Parameter]) -> list[inspect.Parameter | str]:
    """With `*` before what is given by name only."""
    marked: list[inspect.Parameter | str] = list(parameters)
    by_name = [at for at, one in enumerate(parameters) if one.kind is one.KEYWORD_ONLY]
    if by_name and not any(one.kind is one.VAR_POSITIONAL for one in parameters):
        marked.insert(by_name[0], "*")
    return marked


def _parameter(one: inspect.Parameter | str) -> str:
    if isinstance(one, str):
        return one
    stars = "*" if one.kind is one.VAR_POSITIONAL else "**" if one.kind is one.VAR_KEYWORD else ""
    kind = "" if one.annotation is one.empty else f": {_type(one.annotation)}"
    return f"{stars}{one.name}{kind}{_default(one)}"


def _default(one: inspect.Parameter) -> str:
    if one.default is one.empty:
        return ""
    plain = one.default is None or isinstance(one.default, str | int | float | tuple)
    return f" = {one.default!r}" if plain and "object at" not in repr(one.default) else " = …"


def _type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", text)


def _wrapped(text: str, width: int = 100) -> str:
    """A parameter a line where one line would be too long."""
    if len(text) <= width:
        return text
    head, _, rest = text.partition("(")
    inner, _, tail = rest.rpartition(")")
    return f"{head}(\n    " + ",\n    ".join(_parts(inner)) + f",\n){tail}"


def _parts(inner: str) -> Iterator[str]:
    """What stands between the commas that lie in no bracket."""
    depth, begin = 0, 0
    for at, char in enumerate(inner):
        depth += (char in "([") - (char in ")]")
        if char == "," and not depth:
            yield inner[begin:at].strip()
            begin = at + 1
    yield inner[begin:].strip()


def _prose(thing: Any) -> str:
    """A docstring as Markdown: its examples as blocks of code, all else as it is."""
    text = inspect.getdoc(thing) or ""
    parts = []
    for part in text.split("\n\n"):
        lines = inspect.cleandoc(part)
        parts.append(f"```python\n{lines}\n```" if lines.startswith(">>>") else part)
    return "\n\n".join(parts)
