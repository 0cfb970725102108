"""`index.parquet`: one row per record; enough to plan training and to read any member without scanning a tar."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from stamp_schemas import StampError

MEMBERS = ("image", "json", "labels")


class IndexRow(msgspec.Struct):
    """One record of a shard. shard: its file name; row: its place in the shard, from 0.

    Column meanings are those of docs/shard-format.md.

    A member that the record lacks has offset 0, bytes 0 and hash 0. Lists have one entry per dialogue; `text_tokens` is
    None where no tokenizer was given to the build. foreground: covered share of the patches, averaged over targets.
    """

    shard: str
    row: int
    key: str
    image_extension: str
    image_offset: int
    image_bytes: int
    image_xxh3: int
    json_offset: int
    json_bytes: int
    json_xxh3: int
    labels_offset: int
    labels_bytes: int
    labels_xxh3: int
    width: int
    height: int
    grid_height: int
    grid_width: int
    image_tokens: int
    dialogues: int
    targets: int
    foreground: float
    turns: list[int]
    masks: list[int]
    text_chars: list[int]
    text_tokens: list[int] | None

    def member_name(self, member: str) -> str:
        """File name of `member` (one of MEMBERS) in the tar."""
        suffix = {"image": self.image_extension, "json": "json", "labels": "labels.npy"}[member]
        return f"{self.key}.{suffix}"

    def span(self, member: str) -> tuple[int, int, int]:
        """(offset, bytes, xxh3-64) of `member` (one of MEMBERS) in the shard."""
        return getattr(self, f"{member}_offset"), getattr(self, f"{member}_bytes"), getattr(self, f"{member}_xxh3")

    @property
    def labels_shape(self) -> tuple[int, int, int]:
        """(targets, grid height, grid width) of the labels."""
        return self.targets, self.grid_height, self.grid_width

    @property
    def members(self) -> list[str]:
        """The members that this record has, in tar order."""
        return [member for member in MEMBERS if getattr(self, f"{member}_bytes")]


_INT_LIST = pa.list_(pa.field("element", pa.int32(), nullable=False))
SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("image_extension", pa.string(), nullable=False),
        *(
            pa.field(f"{member}_{what}", kind, nullable=False)
            for member in MEMBERS
            for what, kind in (("offset", pa.int64()), ("bytes", pa.int32()), ("xxh3", pa.uint64()))
        ),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("grid_height", pa.int16(), nullable=False),
        pa.field("grid_width", pa.int16(), nullable=False),
        pa.field("image_tokens", pa.int32(), nullable=False),
        pa.field("dialogues", pa.int32(), nullable=False),
        pa.field("targets", pa.int32(), nullable=False),
        pa.field("foreground", pa.float32(), nullable=False),
        pa.field("turns", _INT_LIST, nullable=False),
        pa.field("masks", _INT_LIST, nullable=False),
        pa.field("text_chars", _INT_LIST, nullable=False),
        pa.field("text_tokens", _INT_LIST, nullable=True),
    ]
)
assert tuple(SCHEMA.names) == IndexRow.__struct_fields__


def write_index(path: Path, shards: list[list[IndexRow]]) -> None:
    """Write `index.parquet`, one row group per shard, so that a reader can take one shard's rows alone."""
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", write_statistics=False) as writer:
        for rows in shards:
            columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
            writer.write_table(pa.table(columns, schema=SCHEMA))


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """The index as an arrow table (some columns, or all); StampError if the file is not an index of this schema."""
    try:
        table = pq.read_table(path, columns=columns, partitioning=None)
    except FileNotFoundError:
        raise StampError(f"{path}: no such file", "is this the folder of one built split?") from None
    except (pa.ArrowException, OSError) as fault:
        raise StampError(f"{path}: not a readable index: {str(fault).splitlines()[0]}") from None
    for name in columns or SCHEMA.names:
        if name not in table.schema.names or table.schema.field(name).type != SCHEMA.field(name).type:
            raise StampError(f"{path}: column {name!r} is missing or of another type", "built by another version?")
    return table


def read_rows(path: Path) -> list[IndexRow]:
    """Every row of an index, typed."""
    return msgspec.convert(read_table(path).to_pylist(), list[IndexRow])
