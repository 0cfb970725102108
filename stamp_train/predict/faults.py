"""What the model refuses, with the file or request that it was about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stamp_schemas import StampError
from stamp_train.sequence.errors import StampModelError


@contextmanager
def told(where: str) -> Iterator[None]:
    """Within it a StampModelError names `where`, the file or request, if it does not yet."""
    try:
        yield
    except StampModelError as fault:
        named = fault.message.startswith(where)
        raise StampError(fault.message if named else f"{where}: {fault.message}", fault.hint) from fault
