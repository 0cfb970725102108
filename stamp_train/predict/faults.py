"""What the model refuses, as the one kind of error that commands turn into a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stamp_schemas import StampError
from stamp_train.model.errors import StampModelError


@contextmanager
def told(where: str = "") -> Iterator[None]:
    """Within it a StampModelError becomes a StampError.

    Args:
        where: the file or request, put in front unless it is there.
    """
    try:
        yield
    except StampModelError as fault:
        named = not where or str(fault).startswith(where)
        raise StampError(str(fault) if named else f"{where}: {fault}") from fault
