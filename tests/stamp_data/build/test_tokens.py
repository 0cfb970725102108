"""Token counts in the index are those of the model's own tokenizer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stamp_data.build.tokens import TokenCounter, tokenizer_digest
from stamp_data.shards.reader import ShardSet
from stamp_schemas import Content, Dialogue, Message, StampError, UsageFault

from ..raw import Raw, build

transformers = pytest.importorskip("transformers", reason="compares with transformers' own tokenizer")

SEG = "<|seg|>"
TEXTS = [
    "Sure, here is the segmentation mask for the man <|seg|>:",
    "<|seg|>.",
    "<|seg|> <|seg|><|seg|>",
    " <|seg|>\n",
    "the lady's hat, 2nd from the left – 123,456",
    "左边的人 الرجل naïve e\u0301 👩🏽‍🚀 ﬁ",
    "  leading   and trailing  \n\n\n lines\t",
    "I'LL don't WE'VE",
]


def byte_letters() -> list[str]:
    """The 256 letters by which GPT-2's vocabulary writes bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level vocabulary with a few merges, in the files of the real one."""
    folder = tmp_path_factory.mktemp("tokenizer")
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("m", "a"), ("ma", "n"), ("Ġ", "man"), ("Ċ", "Ċ"), ("Ġ", "Ġ")]
    words = [*byte_letters(), *("".join(pair) for pair in merges)]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    return folder


@pytest.fixture(scope="module")
def real(real_data: Path) -> Path:
    folder = real_data / "qwen2_vl"
    if not (folder / "vocab.json").is_file():
        pytest.skip("the real vocabulary is not among the real records")
    return folder


@pytest.fixture(scope="module", params=["small", "real"])
def both(request: pytest.FixtureRequest) -> tuple[TokenCounter, Any]:
    """Our counter and the reference on the same files."""
    folder: Path = request.getfixturevalue(request.param)
    reference = transformers.Qwen2Tokenizer.from_pretrained(folder)
    reference.add_special_tokens({"additional_special_tokens": [SEG]})
    return TokenCounter(folder), reference


def dialogue(*texts: str) -> Dialogue:
    return Dialogue("0", "", [], [Message("user", [Content("image"), Content("text", text)]) for text in texts])


@pytest.mark.parametrize("text", TEXTS)
def test_counts_are_the_models_own(text: str, both: tuple[TokenCounter, Any]) -> None:
    counter, reference = both
    assert counter.count(dialogue(text)) == len(reference.encode(text, add_special_tokens=False))


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.lists(st.text(max_size=12) | st.just(SEG), max_size=4).map("".join), max_size=3))
def test_counts_of_any_text_are_the_models_own(texts: list[str], both: tuple[TokenCounter, Any]) -> None:
    counter, reference = both
    expected = sum(len(reference.encode(text, add_special_tokens=False)) for text in texts)
    assert counter.count(dialogue(*texts)) == expected


def test_index_holds_the_counts_and_the_manifest_names_the_tokenizer(tmp_path: Path, small: Path) -> None:
    raw = Raw(tmp_path / "data")
    raw.image(1)
    raw.ref(1, "the man", "left one")
    raw.save()
    (built,) = build(raw.root, tmp_path / "out", tokenizer=small)
    (plain,) = build(raw.root, tmp_path / "plain")
    assert built.manifest.settings.tokenizer == tokenizer_digest(small)
    assert plain.manifest.settings.tokenizer == ""
    with ShardSet(built.folder) as shards, ShardSet(plain.folder) as uncounted:
        (row,), (other,) = shards.rows, uncounted.rows
        counter = TokenCounter(small)
        assert row.text_tokens == [counter.count(one) for one in shards.record(row).dialogues]
        assert other.text_tokens is None
        assert shards.record(row) == uncounted.record(other)


def test_digest_is_of_the_content(small: Path, tmp_path: Path) -> None:
    before = tokenizer_digest(small)
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((small / name).read_bytes())
    (tmp_path / "README.md").write_text("not part of it")
    assert tokenizer_digest(tmp_path) == before
    (tmp_path / "merges.txt").write_bytes((small / "merges.txt").read_bytes() + b"a b\n")
    assert tokenizer_digest(tmp_path) != before


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer.json": b"{"},
        {"tokenizer.json": b""},
        {"vocab.json": b"{}"},
        {"vocab.json": b"[1]", "merges.txt": b""},
        {"vocab.json": b'{"a": 0}', "merges.txt": b"x y\n"},
        {"merges.txt": b"a b\n"},
    ],
)
def test_broken_tokenizer_is_one_line(files: dict[str, bytes], tmp_path: Path) -> None:
    raw = Raw(tmp_path / "data")
    raw.image(1)
    raw.ref(1, "it")
    raw.save()
    (tmp_path / "tokenizer").mkdir()
    for name, data in files.items():
        (tmp_path / "tokenizer" / name).write_bytes(data)
    with pytest.raises(StampError) as fault:
        build(raw.root, tmp_path / "out", tokenizer=tmp_path / "tokenizer")
    assert str(tmp_path / "tokenizer") in fault.value.message
    assert "\n" not in str(fault.value)


def test_folder_without_tokenizer_is_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match=r"no tokenizer\.json"):
        tokenizer_digest(tmp_path)


def test_many_shards_do_not_load_the_tokenizer_each(tmp_path: Path, real: Path) -> None:
    """Loading Qwen2's takes a fifth of a second, as long as rendering a hundred records."""
    raw = Raw(tmp_path / "data")
    for number in range(1, 61):
        raw.image(number)
        raw.ref(number, "it")
    raw.save()
    begun = time.process_time()
    build(raw.root, tmp_path / "out", tokenizer=real, shard_records=1)
    assert time.process_time() - begun < 5
