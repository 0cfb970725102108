"""What a step does, and what it depends on."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stamp_schemas import StampError
from stamp_train.attention import make_plan
from stamp_train.sequence.chat import ChatEncoder
from stamp_train.sequence.document import grid_axes
from stamp_train.sequence.examples import DialogueExample, ImageExample
from stamp_train.sequence.layout import Layout
from stamp_train.sequence.structure import visible
from tools.tiny_base.batches import Asked, Batches, CachedChat, right
from tools.tiny_base.muon import Muon, orthogonal
from tools.tiny_base.network import Projected, around, look
from tools.tiny_base.plan import DocumentsPlan
from tools.tiny_base.questions import FORMS
from tools.tiny_base.recipe import Recipe
from tools.tiny_base.scenes import COLOUR_NAMES, SHAPE_NAMES, Drawn, Pool, pixels_of
from tools.tiny_base.scoring import by_kind, score, table
from tools.tiny_base.training import CHECKPOINT, Learner, rate, read_checkpoint, train, write_checkpoint
from tools.tiny_base.words import PLAIN


def _batches(learner: Learner, pool: Pool) -> Batches:
    return Batches(pool, CachedChat(learner.tokenizer), learner.grid)


@pytest.fixture(scope="module")
def trained(fresh: Callable[[], Learner], pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> tuple[Learner, Path]:
    """A learner after twelve steps, and its checkpoint after six."""
    folder, learner = tmp_path_factory.mktemp("run"), fresh()
    batches = _batches(learner, pool)
    for step in range(12):
        if step == 6:
            write_checkpoint(learner, folder)
        learner.learn(batches)
    return learner, folder


def test_steps_lower_the_losses(trained: tuple[Learner, Path], begun: Learner, pool: Pool) -> None:
    asked = _batches(begun, pool).lay_out(np.arange(8), [pool.asked(scene)[:4] for scene in range(8)])
    before, after = (_losses(learner, asked) for learner in (begun, trained[0]))
    assert before.keys() == {"words", "things", "patches", "places", "answers"}
    assert all(after[name] < before[name] for name in before)


def _losses(learner: Learner, asked: Asked) -> dict[str, float]:
    with torch.no_grad():
        seen = look(learner.network, asked.inputs)
        losses = learner.naming(learner.network, seen.features, seen.early, asked.labels, learner.recipe.losses)
    return {**losses, "answers": torch.nn.functional.cross_entropy(seen.logits, asked.wanted)}


def test_a_run_goes_on_bit_by_bit(trained: tuple[Learner, Path], recipe: Recipe, pool: Pool) -> None:
    straight, folder = trained
    resumed = Learner(recipe, read_checkpoint(folder))
    assert resumed.step == 6
    batches = _batches(resumed, pool)
    for _ in range(6):
        resumed.learn(batches)
    before, after = straight.state(), resumed.state()
    for part in ("network", "naming", "average"):
        assert all(torch.equal(weight, after[part][name]) for name, weight in before[part].items())
    assert before["share"] == after["share"]


def test_training_by_the_clock_leaves_a_checkpoint_and_a_log(
    fresh: Callable[[], Learner], pool: Pool, tmp_path: Path
) -> None:
    learner, log = fresh(), tmp_path / "log.jsonl"
    log.write_text('{"step": 5}\n')  # of a process that was killed before its checkpoint
    train(learner, pool, tmp_path, 1e-4, lambda _: None, every=1)
    assert learner.step > 0
    stored = read_checkpoint(tmp_path)
    assert stored is not None and stored["step"] == learner.step
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, learner.step + 1))


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) is None
    (tmp_path / CHECKPOINT).write_bytes(b"PK\3\4 not one")
    with pytest.raises(StampError, match="damaged"):
        read_checkpoint(tmp_path)


def test_the_plan_is_the_rule(batches: Batches) -> None:
    asked = batches.draw(np.random.default_rng(3), 4, 5, np.ones(len(FORMS)))
    structure = asked.inputs.structure
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 4, len(structure), 16, generator=generator)
    key, value = (torch.randn(1, 2, len(structure), 16, generator=generator) for _ in range(2))
    found = DocumentsPlan(structure).attend(query, key, value, 0.25)
    wanted = make_plan(structure, "sdpa").attend(query, key, value, 0.25)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_an_answer_sees_of_its_question_what_the_picture_has_seen(batches: Batches) -> None:
    """Beside the very first token of a document, which all see; and the tokens of a picture all see each other."""
    asked = batches.draw(np.random.default_rng(3), 2, 2, np.ones(len(FORMS)), ahead=True)
    picture = asked.inputs.feature_rows >= 0
    document = asked.inputs.structure.document
    plan = DocumentsPlan(asked.inputs.structure, around(asked.inputs))
    for number, name in enumerate(torch.unique_consecutive(document).tolist()):
        (rows,) = (document == name).nonzero(as_tuple=True)
        seen = plan.mask[number, 0, : len(rows), : len(rows)]
        ids = picture[rows].nonzero()[:, 0]
        first, last = int(ids[0]), int(ids[-1])
        wanted = torch.ones(len(rows), len(rows)).tril().bool()
        wanted[first : last + 1, first : last + 1] = True
        wanted[last + 1 :, 1:first] = False
        assert torch.equal(seen, wanted)


def test_features_are_what_the_projection_makes_of_pixels(begun: Learner, recipe: Recipe, batches: Batches) -> None:
    pixels, _ = pixels_of(Drawn(recipe.scenes, recipe.scenes.train_seed, 3).picture, recipe.scenes)
    found = begun.projection(torch.from_numpy(pixels))
    assert torch.allclose(found, torch.from_numpy(batches.pool.features[3]).float(), atol=2e-2, rtol=2e-3)


def test_labels_name_the_thing_that_is_seen(recipe: Recipe, batches: Batches) -> None:
    drawn = Drawn(recipe.scenes, recipe.scenes.train_seed, 5)
    rows, columns = 2 * batches.grid[0], 2 * batches.grid[1]
    height, width = drawn.shown[0].shape
    pool, seen = batches.pool, 0
    for row in range(rows):
        for column in range(columns):
            place = 4 * (row // 2 * columns // 2 + column // 2) + 2 * (row % 2) + column % 2  # the tower goes by blocks
            down, across = height // rows, width // columns
            cell = np.s_[row * down : (row + 1) * down, column * across : (column + 1) * across]
            shares = [float(plane[cell].mean()) for plane in drawn.shown]
            thing = drawn.scene.things[int(np.argmax(shares))]
            if max(shares) < 0.4:
                assert pool.shapes[5, place] == len(SHAPE_NAMES) and pool.colours[5, place] == len(COLOUR_NAMES)
                continue
            seen += 1
            assert (
                SHAPE_NAMES[pool.shapes[5, place]] == thing.shape
                and COLOUR_NAMES[pool.colours[5, place]] == thing.colour
            )
            right, below, size, here = pool.rest[5, place].tolist()
            x, y = thing.centre
            side = float(across)
            assert right == pytest.approx(x / side - column - 0.5, abs=0.01)
            assert below == pytest.approx(y / side - row - 0.5, abs=0.01)
            assert size == pytest.approx(np.log(thing.area / side**2), abs=0.01)
            assert here == (abs(right) <= 0.5 and abs(below) <= 0.5)
    assert seen > 5


def test_quarters_of_patches_are_covered_in_part(recipe: Recipe, batches: Batches) -> None:
    drawn = Drawn(recipe.scenes, recipe.scenes.train_seed, 5)
    rows, columns = 4 * batches.grid[0], 4 * batches.grid[1]
    covered = np.sum(drawn.shown, 0)
    down, across = covered.shape[0] // rows, covered.shape[1] // columns
    for row in range(rows):
        for column in range(columns):
            patch = 4 * (row // 4 * columns // 4 + column // 4) + 2 * (row // 2 % 2) + column // 2 % 2
            cell = covered[row * down : (row + 1) * down, column * across : (column + 1) * across]
            found = batches.pool.covered[5, patch, 2 * (row % 2) + column % 2]
            assert found == pytest.approx(cell.mean(), abs=1e-3)


def test_distances_to_the_edges_of_the_nearest_box(begun: Learner) -> None:
    """From every token of the picture; all are far where nothing is meant."""
    rows, columns = begun.grid
    nothing = [float("nan")] * 4
    given = [[[0.25, 0.0, 0.5, 0.3], [0.4, 0.7, 1.0, 0.9]], [[0.1, 0.2, 0.2, 0.4], nothing], [nothing, nothing]]
    wanted = torch.full((3, rows * columns, 4), -1.0)
    for question, boxes in enumerate(given[:2]):
        for row in range(rows):
            for column in range(columns):
                x, y = column + 0.5, row + 0.5
                edges = [
                    (x - box[0] * columns, y - box[1] * rows, box[2] * columns - x, box[3] * rows - y)
                    for box in boxes
                    if box != nothing
                ]
                nearest = max(edges, key=min)
                place = row * columns + column
                wanted[question, place] = torch.tensor([min(max(edge, -2), 2) / 2 for edge in nearest])
    naming = copy.deepcopy(begun.naming)
    naming.edges = torch.nn.Identity()
    assert float(naming.distances(wanted, torch.tensor(given))) == pytest.approx(0, abs=1e-12)
    assert float(naming.distances(wanted + 0.5, torch.tensor(given))) == pytest.approx(0.25)


@pytest.mark.parametrize("ahead", [False, True])
def test_boxes_are_learned_from_the_states_that_know_them(begun: Learner, batches: Batches, ahead: bool) -> None:
    """Of the picture's tokens that have seen a question, and of what begins an answer."""
    asked = batches.draw(np.random.default_rng(2), 3, 4, np.ones(len(FORMS)), ahead=ahead)
    seen = look(begun.network, asked.inputs, hidden=ahead)
    seen.late.retain_grad()
    seen.said.retain_grad()
    begun.boxes(seen, asked).backward()
    moved = [states.grad is not None and bool(states.grad.any()) for states in (seen.late, seen.said)]
    assert moved == [True, not ahead]
    if not ahead:
        begins = torch.cat([torch.tensor([True]), asked.question.diff() > 0])
        one = (~asked.boxes[:, :, 0].isnan()).sum(1) == 1
        known = begins & (one & asked.told)[asked.question]
        assert seen.said.grad is not None and torch.equal(seen.said.grad.any(1), known)


def test_an_answer_is_right_to_the_last_token(batches: Batches) -> None:
    asked = batches.draw(np.random.default_rng(1), 3, 4, np.ones(len(FORMS)))
    logits = torch.nn.functional.one_hot(asked.wanted, 1000).float()
    forms, correct = right(logits, asked)
    assert correct.all() and len(forms) == 12
    last = int((asked.question == 5).nonzero()[-1])
    logits[last, asked.wanted[last]] = -1
    assert right(logits, asked)[1].tolist() == [number != 5 for number in range(12)]


@pytest.mark.parametrize("ahead", [False, True])
def test_questions_are_laid_out_as_in_any_training(batches: Batches, ahead: bool) -> None:
    pool, scenes = batches.pool, np.arange(3)
    chosen = [pool.asked(scene)[:4] for scene in scenes.tolist()]
    found = batches.lay_out(scenes, chosen, ahead=ahead)
    examples = [
        ImageExample(
            [DialogueExample("question", batches.dialogue(row, ahead)) for row in rows],
            torch.from_numpy(pool.features[scene]).float(),
            batches.grid_thw,
        )
        for scene, rows in zip(scenes.tolist(), chosen, strict=True)
    ]
    wanted = Layout(batches.chat, PLAIN.method())(examples)
    assert torch.equal(found.wanted, wanted.targets.text_ids)
    for name in ("input_ids", "position_ids", "feature_rows", "text_rows", "pixel_values", "image_grid_thw"):
        assert torch.equal(getattr(found.inputs, name), getattr(wanted.inputs, name)), name
    assert torch.equal(visible(found.inputs.structure, found.inputs.structure), visible(*[wanted.inputs.structure] * 2))


def test_pictures_come_again_as_mask_tokens_do(batches: Batches) -> None:
    """Behind what names the thing: they see what a mask token there sees, and have its positions."""
    scenes = range(len(batches.pool))
    scene, asked = next((n, row) for n in scenes for row in batches.pool.asked(n) if FORMS[row[0]] == "colour")
    found = batches.lay_out([scene], [asked[None]], again=True).inputs
    chat = ChatEncoder(batches.chat.tokenizer)
    end = chat.control["<|im_end|>"]
    ids = found.input_ids[0].tolist()
    told = ids.index(end, ids.index(chat.image_id))  # the end of the question
    (rows,) = (found.structure.block > 0).nonzero(as_tuple=True)
    patches = batches.grid[0] * batches.grid[1]
    assert len(rows) == patches and set(found.input_ids[0, rows].tolist()) == {chat.image_id}
    assert torch.equal(found.feature_rows[rows], torch.arange(patches))
    place = int(found.position_ids[0, 0, told])
    assert torch.equal(found.position_ids[:, 0, rows], torch.from_numpy(place + 1 + grid_axes(batches.grid)))
    seen = visible(found.structure[rows], found.structure)
    wanted = torch.zeros(len(ids), dtype=torch.bool)
    wanted[: told + 1] = True
    wanted[rows] = True
    assert torch.equal(seen, wanted.expand(patches, -1))


def test_a_phrase_is_named_where_the_answer_has_said_it_again(batches: Batches) -> None:
    (asked, *_) = (row for row in batches.pool.asked(1) if FORMS[row[0]] == "reference")
    said = batches.chat.encode(batches.dialogue(asked, False))
    at = batches.named(np.array(said.ids), np.array(said.answer))
    told = batches.chat.tokenizer.decode(said.ids[: at + 1])
    assert told.endswith(batches.pool.texts[asked[2]].partition(":")[0] + ":")


def test_only_forms_with_a_weight_are_asked(begun: Learner, batches: Batches) -> None:
    asked = batches.draw(np.random.default_rng(1), 4, 6, begun.weights(ahead=True), ahead=True)
    assert {FORMS[form] for form in asked.form.tolist()} <= set(begun.recipe.begin)


def test_scores_add_up(begun: Learner, batches: Batches) -> None:
    counts = score(begun.network, batches, 4)
    assert set(by_kind(counts)) >= {"colour", "shape", "place", "size", "count", "relation", "absence"}
    assert sum(of for _, of in counts.values()) == sum(of for _, of in by_kind(counts).values())
    assert "| place/where |" in table(counts)


def test_orthogonal_matrices_of_a_shape_at_once() -> None:
    matrices = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrices, torch.float32))
    assert values.min() > 0.6 and values.max() < 1.3
    assert torch.allclose(orthogonal(matrices.mT, torch.float32), orthogonal(matrices, torch.float32).mT, atol=1e-5)


def test_muon_is_pytorchs_own() -> None:
    ours, theirs = (_moved(kind) for kind in ("ours", "theirs"))
    assert torch.allclose(ours, theirs, atol=2e-3)  # theirs iterates in bfloat16


def _moved(kind: str) -> Tensor:
    weight = torch.nn.Parameter(torch.ones(6, 10))
    optimizer: torch.optim.Optimizer = (
        Muon([weight], 0.02, 0.1, torch.float32)
        if kind == "ours"
        else torch.optim.Muon([weight], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    )
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        weight.grad = torch.randn(6, 10, generator=generator)
        optimizer.step()
    return weight.detach()


def test_rates_rise_stay_and_fall(recipe: Recipe) -> None:
    rates = recipe.rates
    assert rate(rates, 0, matrices=True) == pytest.approx(rates.matrices / rates.warmup)
    assert rate(rates, rates.steady, matrices=False) == rates.others
    assert rate(rates, 4 * rates.steady, matrices=True) == pytest.approx(rates.matrices / 2)


def test_the_network_looks_at_features_alone(begun: Learner, batches: Batches) -> None:
    assert isinstance(begun.network.model.visual.patch_embed, Projected)
    asked = batches.draw(np.random.default_rng(1), 2, 2, np.ones(len(FORMS)))
    with torch.no_grad():
        seen = look(begun.network, asked.inputs)
    assert seen.logits.shape == (len(asked.wanted), 1000)
    again = int(asked.told.sum())
    assert seen.early.shape == ((2 + again) * batches.grid[0] * batches.grid[1], 64)
    assert seen.late.shape == (again * batches.grid[0] * batches.grid[1], 64)


def test_a_step_that_speaks_of_no_single_thing_loses_nothing_by_boxes(begun: Learner, pool: Pool) -> None:
    """The mean over nothing is no number, and would make every weight none."""
    rows = [[row for row in pool.asked(scene) if not pool.told[row[3]]][:4] for scene in range(4)]
    asked = _batches(begun, pool).lay_out(np.arange(4), [np.stack(one) for one in rows])
    assert begun.boxes(look(begun.network, asked.inputs), asked) == 0
