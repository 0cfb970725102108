"""Planning over 10 million dialogues: start, seek, planning and packing a step, memory (see docs/stream.md).

    python bench/plan.py          # some two minutes, most of it to make up the index

The index is made up: 2.5 million records of four dialogues in shards of 512, lengths as in RefCOCO. Every measurement runs in a
process of its own. Beside them stand torch's DistributedSampler, which most loaders build on, and reading the whole index.
"""

from __future__ import annotations

import json
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stamp_data.shards.index import SCHEMA
from stamp_data.shards.manifest import INDEX, MANIFEST, manifest_bytes, set_digest
from stamp_schemas import Manifest, Settings, ShardEntry, Totals
from stamp_schemas.manifest import MANIFEST_SCHEMA

if TYPE_CHECKING:
    from stamp_train.stream.order import Group  # imported late, since starting is among what is measured

SHARDS, RECORDS, DIALOGUES = 4_883, 512, 4
BUDGET, SEEKS, STEPS = 24_576, 25, 400
ROUNDS = 3


def main() -> None:
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        size = (Path(folder) / INDEX).stat().st_size
        print(f"{SHARDS * RECORDS * DIALOGUES:,} dialogues, {SHARDS:,} shards, index of {size / 1e6:.0f} MB")
        found: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
        for _ in range(ROUNDS):
            for name in CASES:
                done = subprocess.run(
                    [sys.executable, __file__, name, folder], capture_output=True, text=True, check=False
                )
                if done.returncode:
                    sys.exit(f"{name}\n{done.stderr}")
                found[name].append(json.loads(done.stdout))
    for name, runs in found.items():
        numbers = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(f"  {name}: " + ", ".join(f"{key} {value:,.4g}" for key, value in numbers.items()))


def make(folder: Path) -> None:
    """A manifest and an index without tars."""
    rng = np.random.default_rng(0)
    entries = []
    with pq.ParquetWriter(folder / INDEX, SCHEMA, compression="zstd", write_statistics=False) as writer:
        for shard in range(SHARDS):
            name = f"shard-{shard:06d}.tar"
            writer.write_table(_rows(name, rng))
            dialogues = RECORDS * DIALOGUES
            entries.append(ShardEntry(name, 10**9, RECORDS, dialogues, dialogues, f"{shard:064x}", ""))
    settings = Settings("made-up", "", "train")
    digest = set_digest(entries)
    manifest = Manifest(MANIFEST_SCHEMA, "made-up/train", digest, settings, {}, "", "", [], entries, Totals(), {})
    (folder / MANIFEST).write_bytes(manifest_bytes(manifest))


def _rows(shard: str, rng: np.random.Generator) -> pa.Table:
    sizes = {
        "image": rng.integers(50_000, 90_000, RECORDS),
        "json": rng.integers(3_000, 9_000, RECORDS),
        "labels": rng.integers(2_000, 9_000, RECORDS),
    }
    height = rng.integers(27, 34, RECORDS)
    number = rng.integers(0, 10**12)
    columns: dict[str, object] = {
        "shard": [shard] * RECORDS,
        "row": np.arange(RECORDS),
        "key": [f"made-up-train-{number + row:012d}" for row in range(RECORDS)],
        "image_extension": ["jpg"] * RECORDS,
        "width": np.full(RECORDS, 640),
        "height": np.full(RECORDS, 480),
        "grid_height": height,
        "grid_width": np.full(RECORDS, 38),
        "image_tokens": height * 38,
        "dialogues": np.full(RECORDS, DIALOGUES),
        "targets": np.full(RECORDS, DIALOGUES),
        "foreground": rng.random(RECORDS),
        "turns": _lists(np.full((RECORDS, DIALOGUES), 2)),
        "masks": _lists(np.ones((RECORDS, DIALOGUES))),
        "text_chars": _lists(rng.integers(60, 160, (RECORDS, DIALOGUES))),
        "text_tokens": _lists(rng.integers(20, 60, (RECORDS, DIALOGUES))),
    }
    place = np.cumsum(sum(sizes.values()) + 4 * 512)
    for member, size in sizes.items():
        columns |= {f"{member}_offset": place, f"{member}_bytes": size}
        columns[f"{member}_xxh3"] = rng.integers(0, 2**63, RECORDS)
        place = place + size + 512
    return pa.table({field.name: pa.array(columns[field.name]).cast(field.type) for field in SCHEMA}, schema=SCHEMA)


def _lists(values: object) -> pa.Array:
    flat = np.asarray(values, np.int32)
    offsets = pa.array(np.arange(RECORDS + 1) * flat.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(flat.ravel()))


def peak() -> float:
    """Most memory that this process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def start(folder: Path) -> dict[str, float]:
    """From nothing imported to the first batch, planned and packed for 8 ranks."""
    begun = time.perf_counter()
    from stamp_train.stream.lengths import Lengths
    from stamp_train.stream.pack import pack_batch
    from stamp_train.stream.plan import Plan

    plan = Plan([str(folder)])
    batch = plan.batch(0)
    pack_batch(batch.groups, Lengths(plan)(batch.groups), 8, BUDGET)
    return {"first batch, s": time.perf_counter() - begun, "peak MiB": peak()}


def seek(folder: Path) -> dict[str, float]:
    """To random steps all over an epoch: the plan of that step; and with it the lengths, and packing."""
    from stamp_train.stream.lengths import Lengths
    from stamp_train.stream.pack import pack_batch
    from stamp_train.stream.plan import Plan

    plan = Plan([str(folder)])
    plan.batch(0)
    lengths = Lengths(plan)
    assert plan.steps is not None
    sought, packed = [], []
    for step in random.Random(0).sample(range(plan.steps), SEEKS):
        begun = time.perf_counter()
        batch = plan.batch(step)
        sought.append(time.perf_counter() - begun)
        pack_batch(batch.groups, lengths(batch.groups), 8, BUDGET)
        packed.append(time.perf_counter() - begun)
    return {
        "seek, s": statistics.median(sought),
        "longest": max(sought),
        "and packed": statistics.median(packed),
        "longest packed": max(packed),
        "peak MiB": peak(),
    }


def steps(folder: Path) -> dict[str, float]:
    """One step after another, and that the ranks' shares make up the plan."""
    from stamp_train.stream.lengths import Lengths
    from stamp_train.stream.pack import pack_batch
    from stamp_train.stream.plan import Plan

    plan = Plan([str(folder)])
    lengths = Lengths(plan)
    plan.batch(1000)
    spent, padding = [], []
    for step in range(1000, 1000 + STEPS):
        begun = time.perf_counter()
        batch = plan.batch(step)
        packed = pack_batch(batch.groups, lengths(batch.groups), 8, BUDGET)
        spent.append(1000 * (time.perf_counter() - begun))
        padding.append(packed.padding)
        wide = pack_batch(batch.groups, lengths(batch.groups), 64, BUDGET)
        for one in (packed, wide):
            shares = [group for rank in one.packs for pack in rank for group in pack.groups]
            assert named(shares) == named(batch.groups)
    return {
        "plan and pack a step, ms": statistics.median(spent),
        "longest": max(spent),
        "padding, 8 ranks": statistics.mean(padding),
        "peak MiB": peak(),
    }


def named(groups: Sequence[Group]) -> list[tuple[int, int, int]]:
    """Every dialogue of some groups, sorted."""
    return sorted((group.shard, group.row, place) for group in groups for place in group.dialogues)


def torch_sampler(folder: Path) -> dict[str, float]:
    """What resuming in the middle of an epoch costs one rank of eight: all is permuted, then half is passed over."""
    del folder
    from torch.utils.data import DistributedSampler

    total = SHARDS * RECORDS * DIALOGUES
    begun = time.perf_counter()
    sampler = DistributedSampler(range(total), num_replicas=8, rank=0)  # type: ignore[arg-type, var-annotated]
    places = iter(sampler)
    for _ in range(total // 16):
        next(places)
    return {"to the middle of the epoch, s": time.perf_counter() - begun, "peak MiB": peak()}


def whole_index(folder: Path) -> dict[str, float]:
    """All columns that a plan and its readers need, read at the start."""
    begun = time.perf_counter()
    table = pq.read_table(folder / INDEX, columns=[name for name in SCHEMA.names if name not in ("key", "foreground")])
    assert table.num_rows == SHARDS * RECORDS
    return {"s": time.perf_counter() - begun, "peak MiB": peak()}


CASES: dict[str, Callable[[Path], dict[str, float]]] = {
    "start": start,
    "seek": seek,
    "steps": steps,
    "torch's DistributedSampler": torch_sampler,
    "reading the whole index": whole_index,
}

if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(CASES[sys.argv[1]](Path(sys.argv[2]))))
    else:
        main()
