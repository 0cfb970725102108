"""`--where` and `--sort`: a small expression language over the dialogues of a set, parsed with `ast`, never evaluated by it.

Every expression is typed before it runs: a column is a number, a text or a list of texts.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from stamp_schemas.errors import UsageFault

Kind = Literal["number", "text", "list", "truth"]
Value = float | str | bool | tuple[str, ...]
Row = Mapping[str, Value]
Run = Callable[[Row], Value]

COLUMNS: dict[str, tuple[Kind, str]] = {
    "key": ("text", "key of the record"),
    "set": ("text", "name of the set, such as refcoco-unc/train"),
    "source": ("text", "dataset, such as refcoco"),
    "split": ("text", "train, val, testA, …"),
    "split_by": ("text", "who made the splits: unc, google, umd, …"),
    "file": ("text", "file name of the picture"),
    "width": ("number", "of the picture, pixels"),
    "height": ("number", "of the picture, pixels"),
    "kind": ("text", "single, multi, no_target or chat"),
    "text": ("text", "the expression; of a chat the first question"),
    "answer": ("text", "the first answer"),
    "categories": ("list", "of its targets"),
    "flags": ("list", "codes, long and short: STP-W003, W003"),
    "dialogues": ("number", "in the record"),
    "targets": ("number", "that the dialogue points at"),
    "turns": ("number", "messages of the dialogue"),
    "chars": ("number", "of all its texts"),
    "tokens": ("number", "of its texts, counted at build, else characters / 4"),
    "image_tokens": ("number", "merged patches of the picture"),
    "total_tokens": ("number", "picture, texts and one mask block per <|seg|>"),
    "area": ("number", "of its masks, share of the picture, 0 to 1"),
    "patches": ("number", "at least half covered by its masks"),
    "iou": ("number", "lowest, of a mask against its patches"),
}

_FUNCTIONS: dict[str, tuple[tuple[Kind, ...], Kind]] = {
    "lower": (("text",), "text"),
    "len": (("text", "list"), "number"),
}
_WORDS: dict[Kind, str] = {"number": "a number", "text": "a text", "list": "a list of texts", "truth": "true or false"}
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b if b else math.nan,
}
_ORDER: dict[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,  # type: ignore[operator]  # both sides are of one kind: `_comparison` has seen to it
    ast.LtE: lambda a, b: a <= b,  # type: ignore[operator]
    ast.Gt: lambda a, b: a > b,  # type: ignore[operator]
    ast.GtE: lambda a, b: a >= b,  # type: ignore[operator]
    ast.In: lambda a, b: a in b,  # type: ignore[operator]
    ast.NotIn: lambda a, b: a not in b,  # type: ignore[operator]
}
LIMIT = 2_000  # characters of an expression


@dataclass(frozen=True)
class Filter:
    """A condition on the columns of a dialogue. text: as it was written."""

    text: str
    _run: Run

    @classmethod
    def parse(cls, text: str) -> Filter:
        """UsageFault says what is wrong with `text`, with a suggestion for a misspelt column."""
        if len(text) > LIMIT:
            raise UsageFault(f"--where: {len(text):,} characters; at most {LIMIT:,} are taken")
        try:
            tree = ast.parse(text.strip(), mode="eval")
            kind, run = _compile(tree.body)
        except (SyntaxError, ValueError) as fault:
            message = fault.msg if isinstance(fault, SyntaxError) else str(fault)
            raise UsageFault(
                f"--where {text!r}: {message}", "for example: kind == 'no_target' or area < 0.01"
            ) from None
        except (RecursionError, MemoryError):
            raise UsageFault("--where: nested too deeply") from None
        if kind != "truth":
            raise UsageFault(f"--where {text!r} is {_WORDS[kind]}, not a condition", "for example: area < 0.01")
        return cls(text, run)

    def __call__(self, row: Row) -> bool:
        return bool(self._run(row))


@dataclass(frozen=True)
class Sort:
    """An order of dialogues by one column. Written `area`, or `-area` for falling."""

    column: str
    falling: bool

    @classmethod
    def parse(cls, text: str) -> Sort:
        """UsageFault for an unknown column, or one that has no order."""
        column = text.strip().removeprefix("-").removeprefix("+")
        if _column(column) not in ("number", "text"):
            raise UsageFault(f"--sort {text!r}: {column} is {_WORDS[_column(column)]}, which has no order")
        return cls(column, text.strip().startswith("-"))

    def key(self, row: Row) -> Value:
        return row[self.column]


def _column(name: str) -> Kind:
    if name not in COLUMNS:
        near = difflib.get_close_matches(name, COLUMNS, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise UsageFault(f"there is no column {name!r}", f"{meant}columns: {', '.join(COLUMNS)}")
    return COLUMNS[name][0]


def _compile(node: ast.expr) -> tuple[Kind, Run]:
    """The kind of an expression and the function that computes it; ValueError for what the language does not have."""
    match node:
        case ast.Name(id=name):
            return _column(name), lambda row: row[name]
        case ast.Constant(value=value) if isinstance(value, bool | int | float | str):
            kind: Kind = "truth" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
            return kind, lambda _: value
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            return "list", _texts(elements)
        case ast.BoolOp(op=operator, values=values):
            parts = [_expect(value, "truth") for value in values]
            if isinstance(operator, ast.And):
                return "truth", lambda row: all(part(row) for part in parts)
            return "truth", lambda row: any(part(row) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _expect(operand, "truth")
            return "truth", lambda row: not inner(row)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = _expect(operand, "number")
            return "number", lambda row: -number(row)  # type: ignore[operator]  # a number
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _ARITHMETIC:
            return "number", _arithmetic(left, operation, right)
        case ast.Compare():
            return "truth", _comparison(node)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            return _call(name, argument)
    raise ValueError(f"{ast.unparse(node)!r} is not part of the language")


def _texts(elements: list[ast.expr]) -> Run:
    values = [element.value for element in elements if isinstance(element, ast.Constant)]
    texts = tuple(value for value in values if isinstance(value, str))
    if len(texts) != len(elements):
        raise ValueError("a list may hold texts in quotes only")
    return lambda _: texts


def _expect(node: ast.expr, wanted: Kind) -> Run:
    kind, run = _compile(node)
    if kind != wanted:
        raise ValueError(f"{ast.unparse(node)!r} is {_WORDS[kind]} where {_WORDS[wanted]} is needed")
    return run


def _arithmetic(left: ast.expr, operation: ast.operator, right: ast.expr) -> Run:
    one, other, combine = _expect(left, "number"), _expect(right, "number"), _ARITHMETIC[type(operation)]
    return lambda row: combine(one(row), other(row))  # type: ignore[arg-type]  # numbers


def _comparison(node: ast.Compare) -> Run:
    """A chain such as `0.01 < area < 0.5`; every link holds or the whole does not."""
    sides = [_compile(side) for side in (node.left, *node.comparators)]
    links: list[Run] = []
    for operator, (kind, one), (other_kind, other) in zip(node.ops, sides, sides[1:], strict=False):
        if type(operator) not in _ORDER:
            raise ValueError("`is` is not part of the language; use ==")
        if isinstance(operator, ast.In | ast.NotIn):
            fits = kind == "text" and other_kind in ("text", "list")
        else:
            fits = kind == other_kind
        if not fits:
            raise ValueError(f"{ast.unparse(node)!r} compares {_WORDS[kind]} with {_WORDS[other_kind]}")
        links.append(_link(_ORDER[type(operator)], one, other))
    return lambda row: all(link(row) for link in links)


def _link(compare: Callable[[Value, Value], bool], one: Run, other: Run) -> Run:
    return lambda row: compare(one(row), other(row))


def _call(name: str, argument: ast.expr) -> tuple[Kind, Run]:
    takes, gives = _FUNCTIONS[name]
    kind, run = _compile(argument)
    if kind not in takes:
        raise ValueError(f"{name}() takes {_WORDS[takes[0]]}, not {_WORDS[kind]}")
    if name == "lower":
        return gives, lambda row: str(run(row)).casefold()
    return gives, lambda row: float(len(run(row)))  # type: ignore[arg-type]  # a text or a list
