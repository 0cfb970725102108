"""`manifest.json`, `rejects.jsonl` and the settings that decide a shard set's bytes (docs/shard-format.md)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

MANIFEST_SCHEMA: Literal["stamp.manifest/1"] = "stamp.manifest/1"
PATCH = 28  # pixels: patch size 14, merged 2 × 2, as in Qwen2-VL and Qwen2.5-VL; Qwen3-VL has 32
FACTORS = (PATCH, 32)

Positive = Annotated[int, msgspec.Meta(ge=1)]
Wording = Literal["paper", "published"]
"""Which questions and answers stand around an expression (stamp_data/instructions)."""


Crowd = Literal["ignore", "instance"]
"""What `iscrowd` 1 means in COCO files: neither for nor against, or no more than that the mask is an RLE."""


class Settings(msgspec.Struct, frozen=True):
    """Everything that decides the bytes of a set, besides its inputs. Equal settings and inputs give equal bytes.

    min_tokens, max_tokens: bounds of merged patches per picture. factor: their side in pixels, unset where it is the usual
    28, as in sets of earlier versions; see `pixels_per_patch`. passes: how often each training expression is drawn.
    shard_records: most records in one shard. tokenizer: digest of the tokenizer files, "" if none counted tokens.
    encoding: of raw JSON files that are not UTF-8, "" if none may be. crowd: what COCO's `iscrowd` means. rounds: most requests
    of a picture that are joined to one dialogue, unset where each has its own; see `most_rounds`.
    """

    dataset: str
    split_by: str
    split: str
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    passes: Positive = 1
    min_tokens: Positive = 1024
    max_tokens: Positive = 1280
    wording: Wording = "paper"
    shard_records: Positive = 512
    tokenizer: str = ""
    encoding: str = ""
    crowd: Crowd = "ignore"
    factor: Positive | msgspec.UnsetType = msgspec.UNSET
    rounds: Positive | msgspec.UnsetType = msgspec.UNSET

    @property
    def most_rounds(self) -> int:
        """Of a dialogue that is made of requests; 1 where none are joined."""
        return 1 if self.rounds is msgspec.UNSET else self.rounds

    @property
    def pixels_per_patch(self) -> int:
        """Side of a merged patch in pixels of the resized picture."""
        return PATCH if self.factor is msgspec.UNSET else self.factor

    @property
    def set_name(self) -> str:
        """Folder of the sets of a dataset, as `refcoco-unc` or `reason_seg`."""
        return f"{self.dataset}-{self.split_by}" if self.split_by else self.dataset

    @property
    def name(self) -> str:
        """Of the set, as `refcoco-unc/val`."""
        return f"{self.set_name}/{self.split}"


class Input(msgspec.Struct):
    """One annotation file that was read. path: relative to the root. digest: BLAKE3 of its bytes, hex."""

    path: str
    bytes: int
    digest: str


class ShardEntry(msgspec.Struct):
    """One shard. digest: BLAKE3 of the file, hex. task: BLAKE3 of settings and annotations that made it, hex."""

    path: str
    bytes: int
    records: int
    dialogues: int
    targets: int
    digest: str
    task: str


class Totals(msgspec.Struct):
    records: int = 0
    dialogues: int = 0
    targets: int = 0
    bytes: int = 0
    image_tokens: int = 0
    rejects: int = 0


class Manifest(msgspec.Struct):
    """A complete shard set. digest: BLAKE3 over the sorted shard digests; the data's name in every checkpoint.

    patches: files that were applied, in that order; unset if none says anything of this set.
    checksum: BLAKE3 of the file's own text without these 64 digits, hex; unset in sets of earlier versions.
    """

    schema: Literal["stamp.manifest/1"]
    name: str
    digest: str
    settings: Settings
    generator: dict[str, str]
    licence: str
    homepage: str
    inputs: list[Input]
    shards: list[ShardEntry]
    totals: Totals
    files: dict[str, str]
    patches: list[Input] | msgspec.UnsetType = msgspec.UNSET
    checksum: str | msgspec.UnsetType = msgspec.UNSET


class Reject(msgspec.Struct):
    """One row of rejects.jsonl: an input that was refused or altered.

    file: the raw file, relative to the root. record: names the record in it. reason: stable code. expressions: how many
    expressions are lost with it (0 where nothing is lost, as for a cleaned text). shard: the shard whose rendering met
    it, "" if the annotations alone were enough to refuse it.
    """

    file: str
    record: str
    reason: str
    detail: str
    action: Literal["dropped", "cleaned"] = "dropped"
    expressions: int = 0
    shard: str = ""
