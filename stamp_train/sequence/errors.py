"""The one exception that a caller of the model, or a file of a model, can cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stamp_schemas.errors import StampError, first_line


class StampModelError(StampError, ValueError):
    """Input, request or checkpoint at fault. where: the dialogue, image or file that has it. fix: what the caller can do."""

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(f"{where}: {what}" if where else what, fix or "")

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return _rebuilt, (self.message, self.hint)  # survives the way back from a worker process


def _rebuilt(message: str, hint: str) -> StampModelError:
    return StampModelError(message, fix=hint)


@contextmanager
def reading(where: str | Path) -> Iterator[None]:
    """For calls of transformers, tokenizers and peft: they raise nearly anything for a damaged file, which becomes one kind."""
    try:
        yield
    except (StampError, MemoryError):
        raise
    except Exception as fault:
        raise StampModelError(f"cannot be opened: {first_line(fault)[:200]}", where=str(where)) from fault
