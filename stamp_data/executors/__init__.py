"""Ways of running tasks. Each runs `stamp_data.build.task.run_task` and nothing else, so all give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from stamp_data.build.receipt import Receipt, Workplace

T = TypeVar("T")


class Executor(Protocol):
    """Runs tasks, in any order, on any machine that sees the same folders."""

    def run(self, tasks: Iterable[Path], place: Workplace) -> Iterator[Receipt]:
        """The receipt of each task as it is done. StampError or OSError where a task as a whole fails."""
        ...

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """`function(*arguments)`, run by whoever has loaded what it needs; at an end when this returns or raises."""
        return function(*arguments)

    def close(self) -> None:
        """Let go of the workers, once the shards that they are at are done."""
        ...
