"""Counting text tokens with a real tokenizer (optional extra `[tokenizer]`), so that packing can be planned from the index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from stamp_schemas import Dialogue, StampError, UsageFault
from stamp_schemas.extras import lacking
from stamp_schemas.record import SEG

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILES = ("tokenizer.json", "vocab.json", "merges.txt")
# Qwen2's way of cutting text into words, from its published tokenizer.
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def tokenizer_digest(folder: Path) -> str:
    """BLAKE3 over the tokenizer's files, hex: what the counts in an index were made with."""
    found = [folder / name for name in FILES if (folder / name).is_file()]
    if not found:
        raise UsageFault(f"{folder}: no tokenizer.json, nor vocab.json and merges.txt", "give the model's own folder")
    digest = blake3()
    for path in found:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class TokenCounter:
    """Counts the tokens of a dialogue's texts. Every `<|seg|>` is one token; roles, turn ends and images are not counted."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = _load(folder)

    def count(self, dialogue: Dialogue) -> int:
        texts = [content.text for message in dialogue.messages for content in message.content if content.text]
        pieces = [piece for text in texts for piece in text.split(SEG)]
        encoded = self._tokenizer.encode_batch_fast(pieces, add_special_tokens=False)
        return sum(len(encoding) for encoding in encoded) + len(pieces) - len(texts)


def _load(folder: Path) -> Tokenizer:
    try:
        import tokenizers
    except ModuleNotFoundError:
        raise lacking("counting tokens needs the tokenizers package", "tokenizer") from None
    try:
        if (folder / "tokenizer.json").is_file():
            return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer = tokenizers.Tokenizer(
            tokenizers.models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
        )
    except Exception as fault:  # the library raises bare Exception for whatever is wrong with the files
        raise StampError(f"{folder}: not a readable tokenizer: {fault}") from None
    tokenizer.normalizer = tokenizers.normalizers.NFC()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(QWEN2_WORDS), behavior="isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer
