"""Which record goes into which shard, and what it is called."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stamp_data.build.plan import KEY_LIMIT, load_task, make_key, plan_tasks
from stamp_data.shards import tar
from stamp_data.shards.rejects import RejectLog
from stamp_schemas import Annotation, Settings, Turn

from ..making import ListSource

NAMES = st.text(max_size=120) | st.from_regex(r"[a-zA-Z0-9_./ -]{1,40}", fullmatch=True) | st.integers().map(str)


@given(NAMES, NAMES, NAMES)
def test_key_is_safe_for_every_reader_whatever_it_is_made_of(set_name: str, split: str, identity: str) -> None:
    key = make_key(set_name, split, identity)
    assert re.fullmatch(r"[a-z0-9_+-]{1,80}", key)
    assert len(tar.header(f"{key}.labels.npy", 1)) == tar.BLOCK


def _number(identity: str) -> str:
    return identity.zfill(12) if identity.isascii() and identity.isdecimal() else identity


@given(st.lists(NAMES, min_size=2, max_size=30, unique_by=_number))
def test_different_identities_have_different_keys(identities: list[str]) -> None:
    assert len({make_key("llava", "train", one) for one in identities}) == len(identities)


@given(st.lists(st.tuples(NAMES, NAMES), min_size=2, max_size=10, unique_by=lambda pair: (pair[0].lower(), pair[1])))
def test_sets_and_splits_with_odd_names_do_not_share_keys(places: list[tuple[str, str]]) -> None:
    places = [place for place in places if "-" not in "".join(place)]  # a-b of c and a of b-c are the same words
    assert len({make_key(name, split, "1") for name, split in places}) == len(
        {(n.lower(), s.lower()) for n, s in places}
    )


@pytest.mark.parametrize(
    ("identity", "key"),
    [
        ("581857", "refcoco-unc-train-000000581857"),
        ("0", "refcoco-unc-train-000000000000"),
        ("17259277046_bd60d5943b_o", "refcoco-unc-train-17259277046_bd60d5943b_o"),
    ],
)
def test_ordinary_keys_can_be_read(identity: str, key: str) -> None:
    assert make_key("refcoco-unc", "train", identity) == key
    assert len(key) <= KEY_LIMIT


def source_of(root: Path, identities: list[str]) -> ListSource:
    turns = [Turn("user", "a"), Turn("assistant", "b")]
    return ListSource(root, [Annotation(name, ("x", f"{name}"), conversation=turns) for name in identities])


@pytest.mark.parametrize("records", [1, 2, 7, 8, 9, 100])
@pytest.mark.parametrize("most", [1, 3, 8, 1000])
def test_shards_are_equally_full_and_hold_every_record_once(records: int, most: int, tmp_path: Path) -> None:
    source = source_of(tmp_path / "data", [str(number) for number in range(records)])
    settings = Settings("tiny", "", "train", shard_records=most)
    heads = plan_tasks(source, settings, RejectLog(), tmp_path)
    tasks = [load_task(head.path) for head in heads]
    sizes = [len(task.records) for task in tasks]
    assert [head.records for head in heads] == sizes
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert sorted(one.annotation.id for task in tasks for one in task.records) == sorted(map(str, range(records)))
    assert [head.shard for head in heads] == sorted(head.shard for head in heads)


def test_digest_of_a_task_names_its_content(tmp_path: Path) -> None:
    source = source_of(tmp_path / "data", [str(number) for number in range(20)])
    settings = Settings("tiny", "", "train", shard_records=10)
    first = [head.digest for head in plan_tasks(source, settings, RejectLog(), tmp_path)]
    assert [head.digest for head in plan_tasks(source, settings, RejectLog(), tmp_path)] == first
    other = Settings("tiny", "", "train", shard_records=10, seed=1)
    assert not set(first) & {head.digest for head in plan_tasks(source, other, RejectLog(), tmp_path)}


def test_neighbours_in_a_shard_are_not_neighbours_in_the_file(tmp_path: Path) -> None:
    source = source_of(tmp_path / "data", [str(number) for number in range(200)])
    (head,) = plan_tasks(source, Settings("tiny", "", "train"), RejectLog(), tmp_path)
    order = [int(one.annotation.id) for one in load_task(head.path).records]
    assert sum(abs(a - b) == 1 for a, b in pairwise(order)) < 10
