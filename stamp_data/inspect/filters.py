"""`--where` and `--sort`: a small expression language over the dialogues of a set, parsed with `ast`, never evaluated by it.

Every expression is typed before it runs: a column is a number, a text or a list of texts.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from stamp_schemas.errors import UsageFault

if TYPE_CHECKING:
    from stamp_data.inspect.record_stats import DialogueStats, RecordStats

Kind = Literal["number", "text", "list", "truth"]
Value = float | str | bool | tuple[str, ...]


class Column(NamedTuple):
    """A fact of a dialogue that conditions may name."""

    kind: Kind
    value: Callable[[RecordStats, DialogueStats], Value]


COLUMNS: dict[str, Column] = {
    "key": Column("text", lambda record, _: record.record.key),
    "set": Column("text", lambda record, _: record.manifest.name),  # such as refcoco-unc/train
    "source": Column("text", lambda record, _: record.manifest.settings.dataset),
    "split": Column("text", lambda record, _: record.manifest.settings.split),
    "split_by": Column("text", lambda record, _: record.manifest.settings.split_by),
    "file": Column("text", lambda record, _: record.record.image.file_name if record.record.image else ""),
    "width": Column("number", lambda record, _: record.row.width),  # of the picture, pixels
    "height": Column("number", lambda record, _: record.row.height),
    "kind": Column("text", lambda _, dialogue: dialogue.kind),
    "text": Column("text", lambda _, dialogue: dialogue.text),
    "answer": Column("text", lambda record, dialogue: record.answer(dialogue)),
    "categories": Column("list", lambda record, dialogue: record.categories(dialogue)),
    "flags": Column("list", lambda record, dialogue: _long_and_short(record.codes(dialogue))),
    "dialogues": Column("number", lambda record, _: len(record.record.dialogues)),
    "targets": Column("number", lambda _, dialogue: len(dialogue.targets)),
    "turns": Column("number", lambda _, dialogue: dialogue.turns),
    "chars": Column("number", lambda _, dialogue: dialogue.chars),
    "tokens": Column("number", lambda _, dialogue: dialogue.text_tokens),
    "image_tokens": Column("number", lambda record, _: record.row.image_tokens),
    "total_tokens": Column("number", lambda _, dialogue: dialogue.total_tokens),
    "area": Column("number", lambda _, dialogue: dialogue.area),  # ratio to the picture's
    "patches": Column("number", lambda _, dialogue: dialogue.patches),
    "iou": Column("number", lambda _, dialogue: dialogue.iou),
}


class Row(Protocol):
    """What is filtered: a value for every column."""

    def __getitem__(self, column: str, /) -> Value: ...


@dataclass(frozen=True)
class DialogueRow:
    """A dialogue of a record, by column."""

    record: RecordStats
    dialogue: DialogueStats

    def __getitem__(self, column: str) -> Value:
        return COLUMNS[column].value(self.record, self.dialogue)


Run = Callable[[Row], Any]

_FUNCTIONS: dict[str, tuple[tuple[Kind, ...], Kind, Callable[[Any], Value]]] = {
    "lower": (("text",), "text", str.casefold),
    "len": (("text", "list"), "number", len),
}
_WORDS: dict[Kind, str] = {"number": "a number", "text": "a text", "list": "a list of texts", "truth": "true or false"}
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b if b else math.nan,
}
_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
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
            kind, run = _compile(ast.parse(text.strip(), mode="eval").body)
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
        if _kind(column) not in ("number", "text"):
            raise UsageFault(f"--sort {text!r}: {column} is {_WORDS[_kind(column)]}, which has no order")
        return cls(column, text.strip().startswith("-"))


def _kind(column: str) -> Kind:
    if column not in COLUMNS:
        near = difflib.get_close_matches(column, COLUMNS, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise UsageFault(f"there is no column {column!r}", f"{meant}columns: {', '.join(COLUMNS)}")
    return COLUMNS[column].kind


def _long_and_short(codes: list[str]) -> tuple[str, ...]:
    return (*codes, *(code.removeprefix("STP-") for code in codes))


def _compile(node: ast.expr) -> tuple[Kind, Run]:
    """The kind of an expression and the function that computes it; ValueError for what the language does not have."""
    match node:
        case ast.Name(id=name):
            return _kind(name), lambda row: row[name]
        case ast.Constant(value=value) if isinstance(value, bool | int | float | str):
            kind: Kind = "truth" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
            return kind, lambda _: value
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            texts = tuple(one.value for one in elements if isinstance(one, ast.Constant) and isinstance(one.value, str))
            if len(texts) != len(elements):
                raise ValueError("a list may hold texts in quotes only")
            return "list", lambda _: texts
        case ast.BoolOp(op=op, values=values):
            parts, combine = [_expect(value, "truth") for value in values], all if isinstance(op, ast.And) else any
            return "truth", lambda row: combine(part(row) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            truth = _expect(operand, "truth")
            return "truth", lambda row: not truth(row)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = _expect(operand, "number")
            return "number", lambda row: -number(row)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            one, other, compute = _expect(left, "number"), _expect(right, "number"), _ARITHMETIC[type(op)]
            return "number", lambda row: compute(one(row), other(row))
        case ast.Compare():
            return "truth", _comparison(node)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            takes, gives, call = _FUNCTIONS[name]
            kind, inner = _compile(argument)
            if kind not in takes:
                raise ValueError(f"{name}() takes {_WORDS[takes[0]]}, not {_WORDS[kind]}")
            return gives, lambda row: call(inner(row))
    raise ValueError(f"{ast.unparse(node)!r} is not part of the language")


def _expect(node: ast.expr, wanted: Kind) -> Run:
    kind, run = _compile(node)
    if kind != wanted:
        raise ValueError(f"{ast.unparse(node)!r} is {_WORDS[kind]} where {_WORDS[wanted]} is needed")
    return run


def _comparison(node: ast.Compare) -> Run:
    """A chain such as `0.01 < area < 0.5`; every link holds or the whole does not."""
    sides = [_compile(side) for side in (node.left, *node.comparators)]
    links: list[tuple[Callable[[Any, Any], bool], Run, Run]] = []
    for op, (kind, one), (other_kind, other) in zip(node.ops, sides, sides[1:], strict=False):
        if type(op) not in _ORDER:
            raise ValueError("`is` is not part of the language; use ==")
        within = isinstance(op, ast.In | ast.NotIn)
        if not (kind == "text" and other_kind in ("text", "list") if within else kind == other_kind):
            raise ValueError(f"{ast.unparse(node)!r} compares {_WORDS[kind]} with {_WORDS[other_kind]}")
        links.append((_ORDER[type(op)], one, other))
    return lambda row: all(compare(one(row), other(row)) for compare, one, other in links)
