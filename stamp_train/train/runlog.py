"""`log.jsonl`: one row per optimizer step, and none twice, however often the run was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from stamp_data.writing import write_atomic
from stamp_schemas.errors import StampError, naming


class Row(msgspec.Struct, kw_only=True):
    """One optimizer step, from 1 over all stages.

    losses: the method's, by name, weighted means over the global batch; `loss` is their sum. grad_norm: before clipping.
    dialogues, tokens: of the global batch; tokens of the language model. batch_digest: names the dialogues (`stamp-train plan
    show`). padding: fraction of the packs' room that was left empty, averaged over the ranks. seconds: wall time. memory: most
    GiB that the main process has held so far, on its GPU where it has one.
    """

    step: int
    stage: str
    loss: float
    losses: dict[str, float]
    lr: float
    grad_norm: float
    dialogues: int
    tokens: int
    padding: float
    batch_digest: str
    seconds: float
    memory: float = 0.0

    def flat(self) -> dict[str, Any]:
        """As it stands in the log: each of the losses as `loss_<name>`, after `loss`."""
        found = {}
        for name, value in msgspec.structs.asdict(self).items():
            found.update({f"loss_{one}": part for one, part in value.items()} if name == "losses" else {name: value})
        return found


class Measured(msgspec.Struct, kw_only=True):
    """One evaluation, after so many steps."""

    step: int
    metrics: dict[str, float]


class RunLog:
    """Appends rows; a row is in the file before the next step begins.

    done: steps that the run goes on from; later rows, which the run will write again, are removed.
    """

    def __init__(self, path: Path, done: int) -> None:
        self.path = path
        kept = [row for row in read_rows(path) if _step(path, row) <= done]
        write_atomic(path, b"".join(msgspec.json.encode(row) + b"\n" for row in kept))

    def add(self, row: Measured | dict[str, Any]) -> None:
        """Append one row."""
        with naming(self.path), self.path.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; a last line that was cut off when the run was killed is left out. StampError: another is damaged."""
    if not path.exists():
        return []
    *lines, _ = path.read_bytes().split(b"\n")
    return [_row(path, number, line) for number, line in enumerate(lines, 1)]


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise StampError(f"{path}:{number}: damaged: {fault}", "mend the line or take it out") from None


def _step(path: Path, row: dict[str, Any]) -> int:
    step = row.get("step")
    if not isinstance(step, int):
        raise StampError(f"{path}: a row without a step: {str(row)[:80]}", "mend the line or take it out")
    return step
