"""Rendering one task to one shard: the unit of work that every executor runs, wherever it runs."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import msgspec

from stamp_data.build.plan import Task, load_task, times_digest
from stamp_data.build.receipt import Receipt, Workplace, receipt_path
from stamp_data.build.render import Rendered, Renderer
from stamp_data.build.tokens import TokenCounter
from stamp_data.grid import foreground
from stamp_data.shards.rejects import RejectLog
from stamp_data.shards.row import IndexRow, described, placed
from stamp_data.shards.writer import ShardWriter
from stamp_data.writing import write_atomic
from stamp_schemas import ShardEntry


def run_task(path: Path, place: Workplace) -> Receipt:
    """Render the shard of one task file, then write its receipt. Running it twice gives the same bytes twice."""
    task = load_task(path)
    tokens = _counter(place.tokenizer, task.settings.tokenizer) if place.tokenizer else None
    renderer = Renderer(place.roots, task.settings, numbered=task.numbered, follow_links=place.follow_links)
    rejects, rows = RejectLog(task.shard), list[IndexRow]()
    with warnings.catch_warnings(), ShardWriter(place.out / task.shard) as writer:
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata: what is worth knowing becomes a reject
        for planned in task.records:
            rendered = renderer.render(planned, rejects)
            if rendered is not None:
                rows.append(_append(writer, rendered, task, len(rows), tokens))
    entry = ShardEntry(
        task.shard,
        writer.size,
        len(rows),
        sum(row.dialogues for row in rows),
        sum(row.targets for row in rows),
        writer.digest,
        task.digest,
    )
    receipt = Receipt(entry, rows, rejects.rows, times_digest(renderer.images.changed))
    write_atomic(receipt_path(place.work, task.shard), msgspec.json.encode(receipt))
    return receipt


@lru_cache(maxsize=1)
def _counter(folder: Path, digest: str) -> TokenCounter:  # noqa: ARG001 - other files in the same folder count otherwise
    """One tokenizer per process: loading Qwen2's takes as long as rendering a hundred records."""
    return TokenCounter(folder)


def _append(writer: ShardWriter, rendered: Rendered, task: Task, row: int, tokens: TokenCounter | None) -> IndexRow:
    """Write the members of one record; returns its index row."""
    record = rendered.record
    spans = {kind: writer.add(name, data) for kind, name, data in rendered.members()}
    return IndexRow(
        shard=task.shard,
        row=row,
        key=record.key,
        **placed(spans),
        **described(record, rendered.picture.extension if rendered.picture else ""),
        foreground=foreground(rendered.labels),
        text_tokens=[tokens.count(dialogue) for dialogue in record.dialogues] if tokens else None,
    )
