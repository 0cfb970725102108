"""The sequence: what is in it, in which order, at which positions, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stamp_train.methods.patches import patches_to_grid
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.examples import DialogueExample, ImageExample, PackedBatch
from stamp_train.sequence.layout import Layout

from ..stamping import stamp

GRID = (2, 3)
Make = Callable[..., Any]


def test_the_image_is_laid_out_once_for_all_its_dialogues(pack: Make, tiny: SimpleNamespace) -> None:
    batch: PackedBatch = pack([(GRID, [0, 1, 3])])
    ids = batch.inputs.input_ids[0]
    assert int((ids == tiny.chat.image_id).sum()) == 6
    assert int((ids == tiny.chat.control["<|mask|>"]).sum()) == 6 * (1 + 2 + 2)
    assert batch.inputs.image_grid_thw.tolist() == [[1, 4, 6]]
    assert batch.inputs.structure.branch.max() == 3
    assert batch.dialogues == ("i0d0", "i0d1", "i0d2")
    assert [block.name for block in batch.inputs.masks] == ["i0d0", "i0d1", "i0d1", "i0d2", "i0d2"]


def test_order_in_the_sequence(pack: Make) -> None:
    structure = pack([(GRID, [1, 0]), (GRID, [0])]).inputs.structure
    stretches = []
    for fact in zip(structure.document.tolist(), structure.branch.tolist(), structure.block.tolist(), strict=True):
        if not stretches or stretches[-1] != fact:
            stretches.append(fact)
    first = [(1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 1, 2), (1, 2, 0), (1, 2, 3)]
    assert stretches == [*first, (2, 0, 0), (2, 1, 0), (2, 1, 4)]


@settings(max_examples=10)
@given(
    kinds=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    grid=st.sampled_from([(1, 1), (2, 3), (5, 2)]),
    scheme=st.sampled_from(["grid", "sequential"]),
)
def test_positions(pack: Make, tiny: SimpleNamespace, kinds: list[int], grid: tuple[int, int], scheme: str) -> None:
    """Text of every branch as transformers places it; a mask block right after its `<|seg|>`, text as if it were not there."""
    inputs = pack([(grid, kinds)], mask_positions=scheme).inputs
    structure, positions, ids = inputs.structure, inputs.position_ids[:, 0], inputs.input_ids[0]
    for branch in range(1, len(kinds) + 1):
        path = (structure.block == 0) & ((structure.branch == 0) | (structure.branch == branch))
        expected, _ = tiny.model.model.get_rope_index(
            ids[path][None], (ids[path] == tiny.chat.image_id)[None].int(), inputs.image_grid_thw
        )
        assert torch.equal(positions[:, path], expected[:, 0])
    for number in range(1, len(inputs.masks) + 1):
        block = structure.block == number
        seg = (
            (structure.block == 0)
            & (structure.branch == structure.branch[block][0])
            & (structure.order == structure.order[block][0])
        )
        assert ids[seg].tolist() == [tiny.chat.seg_id]
        start = int(positions[0, seg]) + 1
        patches = torch.arange(grid[0] * grid[1])
        axes = torch.stack([0 * patches, patches // grid[1], patches % grid[1]]) if scheme == "grid" else patches[None]
        assert torch.equal(positions[:, block], (start + axes).expand(3, -1))


def test_mask_tokens_carry_the_feature_of_their_patch(pack: Make, tiny: SimpleNamespace) -> None:
    inputs = pack([(GRID, [0]), ((3, 2), [1])]).inputs
    image_rows = (inputs.input_ids[0] == tiny.chat.image_id).nonzero()[:, 0]
    assert inputs.feature_rows[image_rows].tolist() == list(range(12))
    expected = [*range(6), *range(6, 12), *range(6, 12)]
    assert inputs.feature_rows[inputs.mask_rows].tolist() == expected
    assert [block.image for block in inputs.masks] == [0, 1, 1]


def test_answers_only_supervises_what_assistants_say(tiny: SimpleNamespace, dialogue: Make, image: Make) -> None:
    turns = [("which", "A cup. <|seg|>"), ("and", "None.")]
    batch = Layout(tiny.chat, stamp(1))([image(GRID, [dialogue("d", turns, GRID)])])
    text = tiny.processor.tokenizer.decode(batch.targets.text_ids)
    assert text == "A cup. <|seg|><|im_end|>None.<|im_end|>"
    assert set(batch.targets.text_weights.tolist()) == {1.0}
    sources = batch.inputs.input_ids[0, batch.inputs.text_rows]
    assert tiny.processor.tokenizer.decode(sources) == "\nA cup. <|seg|>\nNone."


def test_all_labels_count_the_shared_prefix_once_per_dialogue(pack: Make) -> None:
    two, one = (pack([(GRID, kinds)], text_labels="all").targets for kinds in ([0, 0], [0]))
    assert float(two.text_weights.sum()) == 2 * float(one.text_weights.sum())
    assert len(two.text_ids) < 2 * len(one.text_ids)


def test_the_first_token_of_each_dialogue_is_predicted_by_the_end_of_the_image(pack: Make) -> None:
    inputs = pack([(GRID, [0, 0])], text_labels="all").inputs
    last_of_prefix = int((inputs.structure.branch == 0).nonzero()[-1])
    assert inputs.text_rows.tolist().count(last_of_prefix) == 2


@pytest.mark.parametrize("side", [1, 4])
def test_targets_keep_their_place_and_their_ignored_patches(pack: Make, images_of: Make, side: int) -> None:
    images = images_of([(GRID, [1])], side=side)
    targets = pack([(GRID, [1])], side=side).targets
    for number, given_coverage in enumerate(images[0].dialogues[0].labels):
        block = targets.labels[targets.mask_of == number]
        np.testing.assert_array_equal(patches_to_grid(block, GRID), given_coverage)
    assert (targets.labels == 255).any()


def test_different_beginnings_do_not_share(tiny: SimpleNamespace, dialogue: Make, image: Make) -> None:
    plain = dialogue("a", [("x", "<|seg|>")], GRID)
    other = replace(plain, name="b", messages=[{"role": "system", "content": "Be brief."}, *plain.messages])
    inputs = Layout(tiny.chat, stamp(1))([image(GRID, [plain, other, plain])]).inputs
    assert int(inputs.structure.document.max()) == 2
    assert inputs.image_grid_thw.shape[0] == 1  # still one pass of the vision tower
    rows = inputs.feature_rows[(inputs.input_ids[0] == tiny.chat.image_id)]
    assert rows.tolist() == [*range(6), *range(6)]


def test_text_only_dialogues_are_documents_of_their_own(pack: Make) -> None:
    inputs = pack([(None, [2, 2])]).inputs
    assert inputs.pixel_values is None and inputs.image_grid_thw is None
    assert inputs.structure.document.unique().tolist() == [1, 2]
    assert not (inputs.structure.branch == 0).any()


def bad_inputs() -> dict[str, tuple[Callable[[Any, Any], ImageExample], str]]:
    seg, two = [("x", "<|seg|>")], [("x", "<|seg|> <|seg|>")]

    def nan(make_image: Make, make_dialogue: Make) -> ImageExample:
        found = make_image(GRID, [make_dialogue("here", seg, GRID)])
        found.pixel_values[3, 5] = float("nan")
        return found  # type: ignore[no-any-return]

    def wrong_grid(make_image: Make, make_dialogue: Make) -> ImageExample:
        return replace(make_image(GRID, [make_dialogue("here", seg, GRID)]), grid_thw=(1, 4, 4))

    def surplus(make_image: Make, make_dialogue: Make) -> ImageExample:
        found = make_dialogue("here", two, GRID)
        return make_image(GRID, [replace(found, labels=found.labels[:1])])  # type: ignore[no-any-return]

    def no_seg(make_image: Make, make_dialogue: Make) -> ImageExample:
        coverage = make_dialogue("here", seg, GRID).labels
        return make_image(GRID, [replace(make_dialogue("here", [("x", "y")], GRID), labels=coverage)])  # type: ignore[no-any-return]

    def other_grid(make_image: Make, make_dialogue: Make) -> ImageExample:
        return make_image(GRID, [make_dialogue("here", seg, (3, 2))])  # type: ignore[no-any-return]

    def no_pixels(_: Make, make_dialogue: Make) -> ImageExample:
        return ImageExample([make_dialogue("here", seg, GRID)])

    def no_image_item(make_image: Make, make_dialogue: Make) -> ImageExample:
        return make_image(GRID, [make_dialogue("here", [("x", "y")], None)])  # type: ignore[no-any-return]

    def text_seg(_: Make, make_dialogue: Make) -> ImageExample:
        return ImageExample([make_dialogue("here", seg, None)])

    return {
        "nan": (nan, "not finite"),
        "wrong grid": (wrong_grid, "disagrees with 24 rows"),
        "seg without target": (surplus, "2 <.seg.> but 1 targets"),
        "target without seg": (no_seg, "0 <.seg.> but 1 targets"),
        "coverage of another grid": (other_grid, "grid asks for"),
        "no pixels": (no_pixels, "disagree on whether there is an image"),
        "no image in the messages": (no_image_item, "disagree on whether there is an image"),
        "seg without an image": (text_seg, "without an image"),
    }


@pytest.mark.parametrize("fault", list(bad_inputs()))
def test_faults_name_the_dialogue(tiny: SimpleNamespace, image: Make, dialogue: Make, fault: str) -> None:
    build, message = bad_inputs()[fault]
    with pytest.raises(StampModelError, match=f"^here: .*{message}"):
        Layout(tiny.chat, stamp(1))([build(image, dialogue)])


@pytest.mark.parametrize("scheme", ["grid", "sequential"])
def test_positions_past_the_range(pack: Make, scheme: str) -> None:
    inputs = pack([(GRID, [0])], mask_positions=scheme).inputs
    highest = int(inputs.position_ids.max())
    ends_in_block = int(inputs.position_ids[:, 0, inputs.mask_rows].max())
    limit = max(highest, ends_in_block)
    pack([(GRID, [0])], mask_positions=scheme, max_position=limit + 1)
    with pytest.raises(StampModelError, match=r"i0d0: position .* past the model's range"):
        pack([(GRID, [0])], mask_positions=scheme, max_position=limit)


def test_nothing_to_lay_out(tiny: SimpleNamespace) -> None:
    with pytest.raises(StampModelError, match="nothing to lay out"):
        Layout(tiny.chat, stamp(1))([])
    with pytest.raises(StampModelError, match="without dialogues"):
        Layout(tiny.chat, stamp(1))([ImageExample([])])


def test_to_moves_every_tensor(pack: Make) -> None:
    moved = pack([(GRID, [0])]).to("meta")
    tensors = [*vars(moved.inputs).values(), *vars(moved.targets).values(), *moved.inputs.structure.facts()]
    assert {tensor.device.type for tensor in tensors if isinstance(tensor, torch.Tensor)} == {"meta"}


def test_example_needs_no_coverage_without_masks(dialogue: Make) -> None:
    assert isinstance(dialogue("d", [("a", "b")], GRID), DialogueExample)
    assert list(dialogue("d", [("a", "b")], GRID).labels) == []
