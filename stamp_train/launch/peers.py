"""What processes of a run have to do with one another: to agree, and to tell the loss of another from a fault of their own."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from torch.distributed import DistError

from stamp_schemas import StampError

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")

# It raises plain errors, after the place in its source.
_GLOO = re.compile(r"\[[^]]*gloo/[^]]*] (?P<reason>.*?)(\. |\n|$)")


def lost_peer(fault: RuntimeError) -> str:
    """Why a collective cannot be done if another process is gone, or has hung for too long; else empty."""
    if found := _GLOO.match(str(fault)):
        return found["reason"]
    return str(fault).splitlines()[0] if isinstance(fault, DistError) else ""


def decide(accelerator: Accelerator, find: Callable[[], T]) -> T:
    """What `find` gives on the main process, for all of them, which all have to ask.

    StampError: from `find`, on the main process; the others end, since one of them has said why.
    """
    from accelerate.utils import broadcast_object_list

    if accelerator.num_processes == 1:
        return find()
    answer: list[Any] = [None, 1]  # and the exit code of those that are not told
    try:
        if accelerator.is_main_process:
            answer = [find(), 0]
    except StampError as fault:
        answer[1] = fault.exit_code
        raise
    finally:
        broadcast_object_list(answer)
    if answer[1]:
        sys.exit(answer[1])
    found: T = answer[0]
    return found
