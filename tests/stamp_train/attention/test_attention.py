"""Every backend against the rule written out token by token."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stamp_train.attention import make_plan
from stamp_train.attention.flash import FlashPlan
from stamp_train.attention.partition import partition
from stamp_train.attention.select import resolve
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.examples import PackedBatch
from stamp_train.sequence.structure import AttentionStructure, visible

GRIDS = st.sampled_from([(1, 1), (2, 3), (3, 2), (4, 4)])
DIALOGUES = st.lists(st.integers(0, 4), min_size=1, max_size=5)
NUMBERS = st.lists(st.integers(0, 2), min_size=1, max_size=3)
SHAPES = st.lists(st.one_of(st.tuples(GRIDS, DIALOGUES), st.tuples(st.none(), DIALOGUES)), min_size=1, max_size=3)


def brute_force(structure: AttentionStructure) -> Tensor:
    """The rule in words, one pair of tokens at a time."""
    document, branch, block, order, looks, shown = (fact.tolist() for fact in structure.facts())
    size = len(document)
    seen = torch.zeros(size, size, dtype=torch.bool)
    for q in range(size):
        for k in range(size):
            if document[q] != document[k]:
                continue
            if looks[q] and looks[q] == shown[k]:
                seen[q, k] = True
                continue
            if branch[k] not in (0, branch[q]):
                continue
            seen[q, k] = block[k] == block[q] if block[k] else order[k] <= order[q]
    return seen


def looking(batch: PackedBatch, tiny: SimpleNamespace, numbers: list[int]) -> AttentionStructure:
    """The structure of a pack in whose documents, in turn, images look for these numbers, and each `<|seg|>` shows them."""
    inputs, structure = batch.inputs, batch.inputs.structure
    wanted = torch.tensor(numbers)[structure.document % len(numbers)]
    text = structure.block == 0
    image = text & (inputs.feature_rows >= 0)
    shows = image | text & (inputs.input_ids[0] == tiny.chat.seg_id)
    return replace(structure, looks=wanted * image, shown=wanted * shows)


def varlen_reference(
    q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, max_q: int, max_k: int, causal: bool, scale: float
) -> Tensor:
    """What a variable-length kernel computes, in plain operations."""
    group = q.shape[1] // k.shape[1]
    outputs = []
    for i in range(len(cu_q) - 1):
        qs = q[cu_q[i] : cu_q[i + 1]].transpose(0, 1)
        ks, vs = (x[cu_k[i] : cu_k[i + 1]].transpose(0, 1).repeat_interleave(group, 0) for x in (k, v))
        assert qs.shape[1] <= max_q and ks.shape[1] <= max_k
        scores = qs @ ks.transpose(1, 2) * scale
        if causal:
            scores = scores.masked_fill(
                ~torch.ones(scores.shape[1:], dtype=torch.bool).tril(ks.shape[1] - qs.shape[1]), -torch.inf
            )
        outputs.append((scores.softmax(-1) @ vs).transpose(0, 1))
    return torch.cat(outputs)


def plan_for(name: str, structure: AttentionStructure) -> Any:
    return FlashPlan(structure, varlen_reference) if name == "flash" else make_plan(structure, name)


def states(length: int, *, grad: bool) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    return [torch.randn(1, heads, length, 16, generator=generator).requires_grad_(grad) for heads in (4, 2, 2)]


def reference(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    scores = query @ key.repeat_interleave(2, 1).transpose(2, 3) * 0.25
    return scores.masked_fill(~mask, -torch.inf).softmax(-1) @ value.repeat_interleave(2, 1)


@settings(max_examples=15)
@given(shape=SHAPES, numbers=NUMBERS)
def test_visible_is_the_rule(
    pack: Callable[..., PackedBatch], tiny: SimpleNamespace, shape: Any, numbers: list[int]
) -> None:
    structure = looking(pack(shape), tiny, numbers)
    assert torch.equal(visible(structure, structure), brute_force(structure))


@pytest.mark.parametrize("name", ["sdpa", "segments", "flash"])
@settings(max_examples=12)
@given(shape=SHAPES, numbers=NUMBERS)
def test_backend_equals_brute_force(
    pack: Callable[..., PackedBatch], tiny: SimpleNamespace, name: str, shape: Any, numbers: list[int]
) -> None:
    structure = looking(pack(shape), tiny, numbers)
    mask = brute_force(structure)
    ours, theirs = states(len(structure), grad=True), states(len(structure), grad=True)
    out = plan_for(name, structure).attend(*ours, scale=0.25)
    expected = reference(*theirs, mask)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@settings(max_examples=5)
@given(shape=SHAPES, numbers=NUMBERS)
def test_flex_forward_equals_brute_force(
    pack: Callable[..., PackedBatch], tiny: SimpleNamespace, shape: Any, numbers: list[int]
) -> None:
    structure = looking(pack(shape), tiny, numbers)
    qkv = states(len(structure), grad=False)
    out = make_plan(structure, "flex").attend(*qkv, scale=0.25)
    torch.testing.assert_close(out, reference(*qkv, brute_force(structure)), atol=1e-5, rtol=0)


def test_flex_says_that_it_cannot_train_on_cpu(pack: Callable[..., PackedBatch]) -> None:
    structure = pack([((2, 2), [0])]).inputs.structure
    with pytest.raises(StampModelError, match="no backward pass on CPU"):
        make_plan(structure, "flex").attend(*states(len(structure), grad=True), scale=0.25)


def test_segments_in_half_precision_is_the_rounded_result_of_single(pack: Callable[..., PackedBatch]) -> None:
    structure = pack([((4, 4), [0, 1]), ((2, 3), [0])]).inputs.structure
    halves = [part.bfloat16() for part in states(len(structure), grad=False)]
    plan = make_plan(structure, "segments")
    single = plan.attend(*(part.float() for part in halves), scale=0.25)
    with torch.autocast("cpu", torch.bfloat16):
        found = plan.attend(*halves, scale=0.25)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, single.bfloat16())


@pytest.mark.parametrize("numbers", [[0], [1, 2]])
def test_segments_computes_only_what_is_visible(
    pack: Callable[..., PackedBatch], tiny: SimpleNamespace, numbers: list[int]
) -> None:
    structure = looking(pack([((4, 4), [0, 1, 0]), ((2, 3), [0])]), tiny, numbers)
    found = partition(structure)
    length = found.lengths
    computed = 0
    for segment in found.segments:
        rows, columns = (sum(length[i] for i in side) for side in (segment.query, segment.key))
        computed += rows * columns - (rows * (rows - 1) // 2 if segment.causal else 0)
    assert computed == int(visible(structure, structure).sum())
    assert sorted(i for segment in found.segments for i in segment.query) == list(range(len(length)))


def test_text_out_of_order_is_refused_by_the_backends_that_go_by_place() -> None:
    zeros, ones = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    backwards = AttentionStructure(ones, ones, zeros, torch.tensor([2, 3, 0, 1]), zeros, zeros)
    found = partition(AttentionStructure(ones, ones, zeros, torch.arange(4), zeros, zeros))
    assert len(found.segments) == 1
    late_prefix = AttentionStructure(ones, torch.tensor([1, 1, 0, 0]), zeros, torch.tensor([2, 3, 0, 1]), zeros, zeros)
    for structure in (backwards, late_prefix):
        with pytest.raises(StampModelError, match="not in order"):
            partition(structure)


def test_what_looks_without_being_seen_is_refused_by_the_backends_that_go_by_place(
    pack: Callable[..., PackedBatch], tiny: SimpleNamespace
) -> None:
    batch = pack([((2, 2), [0])])
    structure = looking(batch, tiny, [1])
    partition(structure)
    unseen = replace(structure, shown=structure.shown * (batch.inputs.feature_rows < 0))
    block = replace(structure, looks=(structure.block > 0).long(), shown=(structure.block > 0).long())
    for at_fault in (unseen, block):
        with pytest.raises(StampModelError, match="look for"):
            partition(at_fault)
        plan, states_ = make_plan(at_fault, "sdpa"), states(len(at_fault), grad=False)
        expected = reference(*states_, brute_force(at_fault))
        torch.testing.assert_close(plan.attend(*states_, scale=0.25), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["flash_attention_2", "eager", "nonsense"])
def test_plain_backends_are_refused(pack: Callable[..., PackedBatch], tiny: SimpleNamespace, name: str) -> None:
    batch = pack([((2, 2), [0])])
    with pytest.raises(StampModelError, match="no attention backend"):
        tiny.model(inputs=batch.inputs, attention=name)


@pytest.mark.parametrize("name", ["flash_attention_2", {"text_config": "sdpa"}, "eager"])
def test_the_language_models_attention_cannot_be_exchanged(tiny: SimpleNamespace, name: Any) -> None:
    with pytest.raises(StampModelError, match="silently"):
        tiny.model.set_attn_implementation(name)
    assert tiny.model.config.text_config._attn_implementation == "stamp"


def test_a_config_that_asks_for_flash_is_refused(tiny: SimpleNamespace) -> None:
    from copy import deepcopy

    config = deepcopy(tiny.model.config)
    config.text_config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(StampModelError, match="silently"):
        type(tiny.model)(config)


def test_auto_and_what_is_not_there() -> None:
    cpu = torch.device("cpu")
    assert resolve("auto", cpu, torch.float32) == "segments"
    with pytest.raises(StampModelError, match="needs CUDA"):
        resolve("flash", cpu, torch.bfloat16)
    if not torch.cuda.is_available():
        assert resolve("auto", torch.device("cuda"), torch.bfloat16) == "flex"


def test_dense_plan_serves_a_cache() -> None:
    """Queries that are only the last part of the keys, as when a mask block follows cached text."""
    from stamp_train.attention.dense import DensePlan

    one = torch.ones(6, dtype=torch.int64)
    structure = AttentionStructure(
        one, one, torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 2, 2, 2, 2]), 0 * one, 0 * one
    )
    query, key, value = states(6, grad=False)
    full = DensePlan(structure).attend(query, key, value, 0.25)
    part = DensePlan(structure[3:], structure).attend(query[:, :, 3:], key, value, 0.25)
    torch.testing.assert_close(part, full[:, :, 3:])
    stock = F.scaled_dot_product_attention(
        query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), visible(structure, structure), scale=0.25
    )
    torch.testing.assert_close(full, stock)
