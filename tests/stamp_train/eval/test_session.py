"""Evaluations in their folders: what the model answers, what may be gone on with, what may not, what is left alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch
from msgspec.structs import replace

from stamp_schemas import StampError, UsageFault
from stamp_train.backbones.load import load_checkpoint
from stamp_train.backbones.processor import StampProcessor
from stamp_train.eval.card import Opened
from stamp_train.eval.case_views import PageData
from stamp_train.eval.cases import CaseSet
from stamp_train.eval.journal import Journal, agree, changes
from stamp_train.eval.metrics import score_case
from stamp_train.eval.page import choose, write_page
from stamp_train.eval.representation import Learnt, Representation, learnt_by, representations
from stamp_train.eval.results import Results, read_results
from stamp_train.eval.scoring import Line
from stamp_train.eval.session import Asked, Session
from stamp_train.eval.workers import run_workers
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.methods.upsample import to_mask
from stamp_train.recipes import resolve

from ..runs import make_shards
from . import made_sets
from .made_sets import dialogue, oracle, save_lively, square, target, write_set

VAL = "refcoco-unc/val"
SEG = "<|seg|>"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_lively(tmp_path_factory.mktemp("checkpoint") / "lively")


def labels_of(shards: Path, out: Path) -> Asked:
    """What costs least: labels instead of a model."""
    kinds = [Representation("soft", 1)]
    return Asked(
        checkpoint=None, shards=[shards / VAL], out=out, labels=kinds, min_tokens=64, max_tokens=96, batch_size=4
    )


def finished(asked: Asked, overwrite: bool = False) -> tuple[Results, list[Line]]:
    session = Session(asked, overwrite)
    session.work(lambda *_: None)
    assert session.finished
    return session.results()


def test_answers_are_those_of_the_generator(
    shards: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text and masks as of one call per question; a refiner's masks are scored beside them, from the same answers."""

    def refine_all(image: np.ndarray, logits: list, masks: list[np.ndarray]) -> list[np.ndarray]:
        assert all(isinstance(one, np.ndarray) for one in logits) and image.dtype == np.uint8
        return [~mask for mask in masks]

    inverse = SimpleNamespace(name="inverse", failed=0, refine_all=refine_all)
    monkeypatch.setattr("stamp_train.eval.session.load_refiner", lambda *_, **__: inverse)
    asked = Asked(
        checkpoint=checkpoint,
        shards=[shards / VAL],
        out=tmp_path / "out",
        mode="both",
        max_tokens=16,
        max_new_tokens=8,
        refine="sam:weights",
    )
    results, lines = finished(asked)
    assert results.card.model is not None and results.card.model.refiner == "inverse"
    found = {(line.id, line.variant): line for line in lines}
    processor = StampProcessor.from_pretrained(checkpoint)
    processor.bound(most=16)
    generator = StampGenerator(load_checkpoint(checkpoint).eval(), processor)
    source = CaseSet(shards / VAL)
    asked_about = source.load(source.rows[0])
    dialogues = source.shards.record(source.rows[0]).dialogues
    height, width = asked_about.cases[0].truths[0].mask.shape
    masks_seen = 0
    for case, one in zip(asked_about.cases, dialogues, strict=True):
        question, answer = (message.content[-1].text for message in one.messages)
        free = generator.ask(asked_about.image, question, GenerationOptions(max_new_tokens=8))
        begin = answer.partition(SEG)[0] + SEG
        forced = generator.ask(asked_about.image, question, GenerationOptions(begin=begin, max_new_tokens=0))
        for variant, said in (("free", free), ("forced", forced)):
            line = found[case.id, variant]
            assert (line.answer, line.masks) == (said.content, len(said.masks))
            parts = [to_mask(logits, height, width) for logits in said.masks]
            masks_seen += len(parts)
            for variant_now, shown in ((variant, parts), (f"{variant}+refined", [~part for part in parts])):
                union = np.logical_or.reduce([np.zeros((height, width), bool), *shown])
                line = found[case.id, variant_now]
                assert (line.mask() != union).mean() < 0.01  # batches round otherwise than single calls
                assert line.score == score_case(line.mask(), case.truths[0].mask, None, not case.truths[0].mask.any())
    assert masks_seen > len(dialogues)  # in both modes


def test_the_refiner_that_cannot_be_had(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call is wrong, unless it says that it can do without; and then nothing passes for refined, nor later for done."""
    asked = replace(labels_of(shards, tmp_path / "out"), refine="sam:nowhere")
    with pytest.raises(UsageFault, match=r"--refine sam:nowhere: .*--refine-optional"):
        finished(asked)
    assert not any((tmp_path / "out/parts").glob("*"))
    optional = replace(asked, refine_optional=True)
    results, lines = finished_somehow(optional)
    assert list(results.sets[0].scores) == ["soft 1x1"]
    assert "masks stay unrefined" in capsys.readouterr().err
    assert finished_somehow(optional) == (results, lines)
    with pytest.raises(UsageFault, match="--refine sam:nowhere"):
        finished_somehow(asked)
    inverse = SimpleNamespace(name="inverse", failed=0)
    monkeypatch.setattr("stamp_train.eval.session.load_refiner", lambda *_, **__: inverse)
    with pytest.raises(UsageFault, match="refiner was none, is inverse"):
        finished_somehow(asked)


def finished_somehow(asked: Asked) -> tuple[Results, list[Line]]:
    """As the command does it: work is left out where there is none."""
    session = Session(asked)
    if not session.finished:
        session.work(lambda *_: None)
    return session.results()


def test_every_representation_is_scored_and_finer_labels_reach_more(shards: Path, tmp_path: Path) -> None:
    kinds = representations()
    assert [one.name for one in kinds] == ["soft 1x1", "hard 1x1", "sampled 1x1", "soft 4x4", "hard 4x4"]
    results, _ = finished(replace(labels_of(shards, tmp_path / "out"), labels=kinds, min_tokens=4, max_tokens=16))
    reached = {name: scores["stamp"]["ciou"] for name, scores in results.sets[0].scores.items()}
    assert list(reached) == [one.name for one in kinds]
    assert reached["soft 4x4"] > reached["soft 1x1"] + 0.2
    with pytest.raises(UsageFault, match="no sampled labels with 4x4"):
        representations("sampled", 4)


def test_what_recipes_runs_and_checkpoints_learn(shards: Path, checkpoint: Path, tmp_path: Path) -> None:
    """The labels and the pictures' bounds are theirs."""
    assert learnt_by(Path("tiny")) == Learnt(Representation("soft", 4), 4, 48)
    assert learnt_by(checkpoint) == Learnt(Representation("soft", 4), 4, 64)
    assert learnt_by(Path("stamp-qwen3-2b")).factor == 32
    published = tmp_path / "published.yaml"
    recipe = resolve("stamp-2b", ("method.loss=published", "method.head=patch", "data.max_tokens=1100"))
    published.write_text(recipe.yaml(), encoding="utf-8")
    assert learnt_by(published) == Learnt(Representation("sampled", 1), 1024, 1100)
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text(recipe.yaml(), encoding="utf-8")
    final = shutil.copytree(checkpoint, run / "final")
    assert learnt_by(run) == learnt_by(final) == learnt_by(published)
    assert learnt_by(shards / VAL) is None


def test_labels_have_the_patches_of_their_own_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of sets for several backbones each scores as it does alone, whichever comes first; a recipe's patches count for all."""
    monkeypatch.setattr(made_sets, "SIDE", 110)  # four patches of 28 pixels, three of 32
    records = [([target("t", square(3, 5, 40))], [dialogue("d", "it", [0], "What?", SEG)])]
    sets = {factor: write_set(tmp_path / f"of-{factor}" / "val", records, factor=factor) for factor in (28, 32)}

    def scores(name: str, *factors: int, asked: int | None = None) -> list[float]:
        kinds = [Representation("soft", 1)]
        shards = [sets[factor] for factor in factors]
        call = Asked(
            checkpoint=None, shards=shards, out=tmp_path / name, labels=kinds, min_tokens=4, max_tokens=30, factor=asked
        )
        Session(call).work(lambda *_: None)
        found = Session(call).results()[0]
        return [one.scores["soft 1x1"]["stamp"]["giou"] for one in sorted(found.sets, key=lambda one: one.name)]

    alone = scores("a", 28) + scores("b", 32)
    assert alone[0] != alone[1]
    assert scores("c", 28, 32) == scores("d", 32, 28) == alone
    assert scores("e", 28, 32, asked=32) == [alone[1]] * 2


@pytest.mark.parametrize(("rule", "side", "method"), [("soft", 1, "bilinear"), ("hard", 4, "published")])
def test_labels_score_as_the_oracle_draws_them(rule: str, side: int, method: str, shards: Path, tmp_path: Path) -> None:
    asked = replace(labels_of(shards, tmp_path), labels=[Representation(rule, side)], upsampling=method)
    results, lines = finished(replace(asked, out=tmp_path / "out"))
    source = CaseSet(shards / VAL)
    truths = {case.id: case.truths[0].mask for row in source.rows for case in source.load(row).cases}
    assert len(lines) == len(truths)
    shared = either = 0
    for line in lines:
        truth = truths[line.id]
        predicted = oracle(truth, 64, 96, side=side, rule=rule, method=method)
        assert np.array_equal(line.mask(), predicted)
        shared, either = shared + (predicted & truth).sum(), either + (predicted | truth).sum()
    assert results.sets[0].scores[f"{rule} {side}x{side}"]["stamp"]["ciou"] == pytest.approx(shared / either)


def test_going_on_and_beginning_anew(shards: Path, tmp_path: Path) -> None:
    asked = labels_of(shards, tmp_path / "out")
    results, lines = finished(asked)
    parts = tmp_path / "out/parts"
    before = {path.name: path.stat().st_mtime_ns for path in parts.iterdir()}
    assert finished(asked) == (results, lines)
    assert {path.name: path.stat().st_mtime_ns for path in parts.iterdir()} == before
    assert read_results(tmp_path / "out/results.json") == results
    changed = replace(asked, upsampling="published", seed=1)
    with pytest.raises(UsageFault, match=r"upsampling was bilinear, is published; seed was 0, is 1"):
        Session(changed)
    again, _ = finished(changed, overwrite=True)
    assert again.sets[0].scores != results.sets[0].scores


def test_what_makes_another_evaluation(shards: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Other weights do, the place where they lie does not."""
    asked = Asked(checkpoint=checkpoint, shards=[shards / VAL], out=tmp_path / "out")
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in checkpoint.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    first = Session(asked).settings
    assert changes(first, Session(replace(asked, checkpoint=moved)).settings) == []
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    (change,) = changes(first, Session(replace(asked, checkpoint=moved)).settings)
    assert change.startswith("checkpoint_digest was")


def test_bounds_that_leave_nothing(shards: Path, checkpoint: Path, tmp_path: Path) -> None:
    asked = replace(labels_of(shards, tmp_path / "labels"), max_tokens=16)
    with pytest.raises(UsageFault, match="at least 64 and at most 16 patches"):
        Session(asked).work(lambda *_: None)
    finished(replace(asked, max_tokens=96))  # nothing was done, so the folder is free for other settings
    asked = replace(asked, out=tmp_path / "model", checkpoint=checkpoint, min_tokens=None, max_tokens=2)
    with pytest.raises(UsageFault, match="at least 4 and at most 2 patches"):
        Session(asked).work(lambda *_: None)


def test_folders_of_others_stay(shards: Path, tmp_path: Path) -> None:
    """Neither a folder of something else nor a file of the name of ours is begun in or removed."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("all of it")
    for overwrite in (False, True):
        with pytest.raises(UsageFault, match=r"holds thesis.txt, but no evaluation"):
            Session(labels_of(shards, out), overwrite)
    (out / "settings.json").write_text('{"editor": "vi"}')
    for overwrite in (False, True):
        with pytest.raises(StampError, match=r"settings.json"):
            Session(labels_of(shards, out), overwrite)
    assert {path.name for path in out.iterdir()} == {"thesis.txt", "settings.json"}
    finished(labels_of(shards, tmp_path / "mine"))
    (tmp_path / "mine/notes.txt").write_text("mine")
    finished(labels_of(shards, tmp_path / "mine"), overwrite=True)
    assert (tmp_path / "mine/notes.txt").read_text(encoding="utf-8") == "mine"


def test_processes_that_begin_together_share_a_folder(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one claims it, and begins, just when this one looks whose it is."""
    asked = labels_of(shards, tmp_path / "out")
    plain = Path.iterdir

    def late(folder: Path) -> Iterator[Path]:
        if folder == asked.out:
            monkeypatch.setattr(Path, "iterdir", plain)
            Session(asked).work(lambda *_: None)
        return plain(folder)

    monkeypatch.setattr(Path, "iterdir", late)
    assert Session(asked).finished


def test_a_damaged_journal_and_a_disk_that_refuses(shards: Path, tmp_path: Path) -> None:
    finished(labels_of(shards, tmp_path / "out"))
    part = tmp_path / "out/parts/rank-00000.jsonl"
    whole = part.read_bytes()
    for broken in (whole.replace(b'"set"', b"set", 1), whole.replace(b'"iou":', b'"iou":"x', 1), b"7\n" + whole):
        part.write_bytes(broken)
        with pytest.raises(StampError, match=r"rank-00000.jsonl: damaged: "):
            Session(labels_of(shards, tmp_path / "out")).results()
    with pytest.raises(StampError, match=r"rank-00000.jsonl/out: Not a directory"):
        Session(labels_of(shards, part / "out"))


def test_a_worker_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told which; the others are ended."""
    with pytest.raises(StampError, match=r"process [12] of 2 ended with exit code 2"):
        run_workers(2, ["eval", "--no-such-option"])
    program = (
        "import os, signal, time; os.environ['RANK'] == '1' and os.kill(os.getpid(), signal.SIGKILL); time.sleep(600)"
    )
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda _, **more: popen([sys.executable, "-c", program], **more))
    with pytest.raises(StampError, match="process 2 of 2 ended with exit code -9"):
        run_workers(2, [])


def test_two_at_once_are_refused(shards: Path, tmp_path: Path) -> None:
    asked = labels_of(shards, tmp_path / "out")
    session = Session(asked)
    with Journal(tmp_path / "out", 0), pytest.raises(StampError, match="another process is writing"):
        session.work(lambda *_: None)
    with pytest.raises(StampError, match=r"(\d+) of \1 cases are not done"):
        session.results()


def data_of(page: str) -> PageData:
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return msgspec.json.decode(block, type=PageData)


def test_the_page(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst come first, nothing is shown twice, and text cannot become markup."""
    session = Session(labels_of(shards, tmp_path / "out"))
    session.work(lambda *_: None)
    results, lines = session.results()
    lines[0].expression, lines[0].iou = '<script>alert(1)</script> & "quoted"', 0.0
    monkeypatch.setattr("stamp_train.eval.page.SHOWN", -(-len(lines) // 2))
    worst, others = choose(lines, 0)
    assert max(line.iou for line in worst) <= min(line.iou for line in others)
    shown = [line.id for line in (*worst, *others)]
    assert len(shown) == len(set(shown)) == len(lines) and choose(lines, 1)[0] == worst
    assert write_page(tmp_path / "out", results, lines, session.sets, "stamp") == len(lines)
    page = (tmp_path / "out/page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and len(page) < 1_000_000
    data = data_of(page)
    assert data.cases[0].expression == lines[0].expression and page.count("</script>") == 2
    assert sum(case.truth.startswith("M") for case in data.cases) == sum(
        line.score.target > 0 for line in lines if line.score
    )
    assert (
        len(data.pictures)
        == len({line.id.partition("/")[0] for line in lines})
        == page.count("data:image/jpeg;base64,")
    )
    assert sum(data.histograms[0].counts) == len(lines)


def test_the_page_without_a_record(shards: Path, tmp_path: Path) -> None:
    """A record that has become unreadable since is shown without its picture."""
    session = Session(labels_of(shards, tmp_path / "out"))
    session.work(lambda *_: None)
    results, lines = session.results()
    lines[0].id = "gone/0"
    write_page(tmp_path / "out", results, lines, session.sets, "stamp")
    data = data_of((tmp_path / "out/page.html").read_text(encoding="utf-8"))
    assert [case.id for case in data.cases if case.picture < 0] == ["gone/0"] and len(data.cases) == len(lines)


def test_settings_of_a_method_are_the_same_when_they_are_read_back(tmp_path: Path) -> None:
    """A second process, or a second call, finds in the folder what it would write itself; a tuple there is a list."""
    opened = Opened(method={"name": "stamp", "names": ("dog", "cat")})
    agree(tmp_path, "model.json", opened)
    agree(tmp_path, "model.json", opened)
    with pytest.raises(UsageFault, match="method was"):
        agree(tmp_path, "model.json", Opened(method={"name": "stamp", "names": ("dog",)}))
