"""Pickles that hold numpy's numbers, read by a small machine of our own that imports nothing and calls nothing.

An id straight from numpy or pandas is not plain data: its pickle asks for `numpy.core.multiarray.scalar` to be called with a
dtype and eight bytes. Here the names of the few such functions are words that the machine knows, of numpy 1 and 2 alike:
it makes Python's own numbers and lists of the bytes. Any other name, any other dtype and any other opcode is refused. It
is slower than the C unpickler, so that only files that name numpy come here.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

LIMIT = 8_000_000  # lists, dictionaries and tuples; numbers in arrays
MOST_DIMENSIONS = 2

_HOMES = ("numpy.core", "numpy._core")
_KNOWN = (
    {f"{home}.multiarray scalar": "scalar" for home in _HOMES}
    | {f"{home}.multiarray _reconstruct": "array" for home in _HOMES}
    | {f"{home}.numeric _frombuffer": "buffer" for home in _HOMES}
    | {"numpy dtype": "dtype", "numpy ndarray": "ndarray", "_codecs encode": "encode"}
    | {"__builtin__ bytes": "bytes", "builtins bytes": "bytes"}
)
_DTYPE = re.compile(r"[iu][1248]|f[248]|b1", re.ASCII)

_LITERALS = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
    "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
))  # fmt: skip
_PYTHON_2_TEXTS = frozenset(("STRING", "BINSTRING", "SHORT_BINSTRING"))
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], object]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))


class Refused(ValueError):
    """What the pickle asks for, in words."""


class _Word(str):
    """One of the functions that are known, by what the machine calls it."""

    __slots__ = ()


class _Array(list[object]):
    """An array that waits for its state, then holds it as a list."""

    __slots__ = ()


class _DType:
    """A dtype of numbers: its letter and size, and the order of its bytes."""

    def __init__(self, code: object) -> None:
        self.code = _text(code)
        if not _DTYPE.fullmatch(self.code):
            raise Refused(f"numpy's dtype {self.code[:40]!r}, which is none of numbers")
        self.order = "<"

    def set_state(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise Refused("a dtype of several fields")
        order = _text(state[1])
        if order not in ("<", ">", "|", "="):
            raise Refused(f"the order of bytes {order[:10]!r}")
        self.order = ">" if order == ">" else "<"

    def numbers(self, data: object) -> npt.NDArray[Any]:
        """The numbers that the bytes hold."""
        if not isinstance(data, bytes | bytearray):
            raise Refused("an array of objects")
        return np.frombuffer(data, f"{self.order}{self.code}")


class Machine:
    """One pickle's stack and memo."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[object, object] = {}
        self._made = self._encoded = 0

    def load(self) -> object:
        """What the pickle holds. ValueError, also as Refused or UnicodeError, IndexError or KeyError if it is not usable."""
        for opcode, argument, position in pickletools.genops(self._data):
            if opcode.name == "STOP":
                (value,) = self._stack
                return value
            try:
                self._step(opcode.name, argument)
            except Refused as fault:
                raise Refused(f"{fault} ({opcode.name} at byte {position or 0:,})") from None
        raise ValueError("it ends early")

    def _step(self, name: str, argument: object) -> None:
        stack = self._stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _PYTHON_2_TEXTS:
            assert isinstance(argument, str), "pickletools gives these as text"
            stack.append(argument.encode("latin-1"))
        elif name in _PUTS:
            self._memo[argument] = stack[-1]
        elif name in _GETS:
            stack.append(self._memo[argument])
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name in _EMPTY:
            self._make(_EMPTY[name]())
        elif name in _TUPLES:
            self._make(tuple(self._pop(_TUPLES[name])))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._name(str(argument) if name == "GLOBAL" else " ".join(map(_text, self._pop(2))))
        elif name not in ("PROTO", "FRAME"):
            method = getattr(self, f"_do_{name.lower()}", None)
            if method is None:
                raise Refused("what no plain pickle has")
            method()

    def _do_list(self) -> None:
        self._make(self._pop_mark())

    def _do_tuple(self) -> None:
        self._make(tuple(self._pop_mark()))

    def _do_dict(self) -> None:
        pairs = self._pop_mark()
        self._make({})
        self._set(pairs)

    def _do_pop(self) -> None:
        self._pop(1)

    def _do_append(self) -> None:
        self._extend(self._pop(1))

    def _do_appends(self) -> None:
        self._extend(self._pop_mark())

    def _do_setitem(self) -> None:
        self._set(self._pop(2))

    def _do_setitems(self) -> None:
        self._set(self._pop_mark())

    def _do_reduce(self) -> None:
        word, arguments = self._pop(2)
        if not isinstance(word, _Word) or not isinstance(arguments, tuple):
            raise Refused("a call of something unknown")
        self._stack.append(self._call(word, arguments))

    def _do_build(self) -> None:
        (state,) = self._pop(1)
        value = self._stack[-1]
        if isinstance(value, _DType):
            value.set_state(state)
        elif isinstance(value, _Array) and isinstance(state, tuple) and len(state) == 5:
            _, shape, dtype, is_fortran, data = state
            value[:] = self._shaped(data, dtype, shape, is_fortran is True)
        else:
            raise Refused("a state for something that has none")

    def _name(self, name: str) -> None:
        if name not in _KNOWN:
            raise Refused(f"{name.replace(' ', '.')[:80]}, which would run code")
        self._stack.append(_Word(_KNOWN[name]))

    def _call(self, word: str, arguments: tuple[object, ...]) -> object:
        if word == "dtype" and arguments:
            return _DType(arguments[0])
        if word == "scalar" and len(arguments) == 2 and isinstance(arguments[0], _DType):
            (number,) = arguments[0].numbers(arguments[1]).tolist()
            return number
        if word == "array" and arguments and isinstance(arguments[0], _Word) and arguments[0] == "ndarray":
            return _Array()
        if word == "buffer" and len(arguments) >= 4 and not any(arguments[4:]):
            data, dtype, shape, order = arguments[:4]
            return _Array(self._shaped(data, dtype, shape, _text(order) == "F"))
        if word == "encode" and len(arguments) == 2 and _text(arguments[1]) in ("latin1", "latin-1"):
            text = _text(arguments[0])
            self._encoded += len(text)
            if self._encoded > len(self._data):
                raise Refused("the same bytes over and over")
            return text.encode("latin-1")
        if word == "bytes" and not arguments:
            return b""
        raise Refused(f"{word} called in an unknown way")

    def _shaped(self, data: object, dtype: object, shape: object, is_fortran: bool) -> list[object]:
        """The numbers of an array as a list, or as lists of its rows."""
        if not isinstance(dtype, _DType) or not isinstance(shape, tuple) or not 1 <= len(shape) <= MOST_DIMENSIONS:
            raise Refused(f"an array of other than numbers in 1 to {MOST_DIMENSIONS} dimensions")
        sides = [int(side) for side in shape if isinstance(side, int) and side >= 0]
        flat = dtype.numbers(data)
        self._count(flat.size)
        if len(sides) != len(shape) or flat.size != math.prod(sides):
            raise Refused("an array that has not the size it says")
        self._count(sum(sides[:-1]))  # rows, which may be of no length
        rows: list[object] = flat.reshape(sides, order="F" if is_fortran else "C").tolist()
        return rows

    def _make(self, value: object) -> None:
        self._count(1)
        self._stack.append(value)

    def _count(self, more: int) -> None:
        self._made += more
        if self._made > LIMIT:
            raise Refused(f"more than {LIMIT:,} lists, dictionaries and numbers")

    def _pop(self, count: int) -> list[object]:
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) - count < floor:
            raise ValueError("its stack is empty")
        found = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return found

    def _pop_mark(self) -> list[object]:
        start = self._marks.pop()
        found = self._stack[start:]
        del self._stack[start:]
        return found

    def _extend(self, values: list[object]) -> None:
        there = self._stack[-1]
        if type(there) is not list:
            raise Refused("values put into no list")
        there.extend(values)

    def _set(self, pairs: list[object]) -> None:
        there = self._stack[-1]
        if not isinstance(there, dict) or len(pairs) % 2:
            raise Refused("values put into no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str | bytes | int | float | None):
                raise Refused("a key that is no text or number")
            there[key] = value


def _text(value: object) -> str:
    """A text, or Python 2's bytes as one."""
    if isinstance(value, str) and not isinstance(value, _Word):
        return value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    raise Refused(f"{type(value).__name__.strip('_')} where a text belongs")
