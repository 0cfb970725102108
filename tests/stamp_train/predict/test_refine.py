"""Refinement as its users see it: it helps where it can, says why where it cannot, and never makes anything fail."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stamp_train.predict.refine import PRESETS, Preset, Refiner, load_refiner
from stamp_train.predict.refine.faults import RefinerFault
from stamp_train.predict.refine.frame import Frame

from .tiny_sam import coarse, official_file, official_state, picture, tiny_sam

SIZE = (40, 64)
LOGITS = coarse(5, 8)
MASK = np.zeros(SIZE, bool)
MASK[10:25, 20:50] = True
IMAGE = picture(*SIZE)
STAMP = PRESETS["stamp"]


class Scripted:
    """A network that answers what it is told to, and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []
        self.embedded = 0

    def frame(self, height: int, width: int) -> Frame:
        return Frame(height, width, 64, 16)

    def embed(self, pixels: Tensor) -> list[Tensor]:
        self.embedded += 1
        return [pixels[:, :1, :4, :4]]

    def predict(self, *asked: Any) -> tuple[Tensor, Tensor]:
        self.asked.append(asked)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        low, iou = answer
        return low, torch.tensor([iou])


def steady(network: Scripted, preset: Preset = STAMP) -> tuple[Refiner, list[str]]:
    told: list[str] = []
    return Refiner(network, preset, name="sam:test", say=told.append), told


def proposals(*rectangles: tuple[slice, slice]) -> Tensor:
    """Logits [1, n, 16, 16], foreground in the rectangles; the picture takes the upper 10 of 16 rows."""
    low = torch.full((1, len(rectangles), 16, 16), -4.0)
    for number, (rows, columns) in enumerate(rectangles):
        low[0, number, rows, columns] = 4.0
    return low


WHOLE, MEANT, PART = (slice(0, 10), slice(0, 16)), (slice(2, 6), slice(5, 12)), (slice(2, 3), slice(5, 7))


def test_rounds_hand_on_the_best_proposal() -> None:
    logits = np.full((10, 16), -3.0, np.float32)
    logits[MEANT] = 3.0
    first, second = proposals(WHOLE, MEANT, PART), proposals(MEANT)
    first[0, 1, 10:] = 4.0  # what SAM draws in the padding counts for nothing
    network = Scripted((first, [0.99, 0.7, 0.95]), (second, [0.5]))
    refined = steady(network)[0].refine(IMAGE, logits, MASK)
    assert [asked[-1] for asked in network.asked] == [True, False], "three proposals in the first round only"
    assert torch.equal(network.asked[1][1][0], first[0, 1]), "a part that SAM is sure of is not what was meant"
    assert refined[20, 32] and not refined[35, 60]


def test_the_last_published_round_replaces_the_mask() -> None:
    network = Scripted(*[(proposals(part), [0.1]) for part in (WHOLE, MEANT, PART)])
    logits = np.where(np.arange(8) > 3, 3.0, -3.0).astype(np.float32)[None].repeat(5, 0)
    refined = steady(network, PRESETS["published"])[0].refine(IMAGE, logits, MASK)
    assert [asked[-1] for asked in network.asked] == [False] * 3
    assert 0 < refined.sum() < 300
    assert all(asked[4] is None for asked in network.asked), "no box"
    for before, after in ((WHOLE, 1), (MEANT, 2)):
        assert torch.equal(network.asked[after][1], proposals(before)[:, 0])


@pytest.mark.parametrize("preset", list(PRESETS))
def test_an_empty_mask_is_not_even_asked_about(preset: str) -> None:
    network = Scripted()
    refiner, told = steady(network, PRESETS[preset])
    assert not refiner.refine(IMAGE, LOGITS, np.zeros(SIZE, bool)).any()
    assert not network.asked and not told and refiner.failed == 0


def test_an_empty_answer_keeps_the_mask_but_not_in_the_published_preset() -> None:
    nothing = (torch.full((1, 1, 16, 16), -1.0), [0.9])
    for preset, kept in (("stamp", True), ("published", False)):
        refiner, _ = steady(Scripted(nothing, nothing, nothing), PRESETS[preset])
        assert refiner.refine(IMAGE, LOGITS, MASK).any() == kept


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (RuntimeError("kernel 7 died"), "RuntimeError: kernel 7 died"),
        (torch.OutOfMemoryError("out of memory\nby 3 GiB"), "OutOfMemoryError: out of memory"),
        (MemoryError(), "MemoryError"),
        ((torch.full((1, 3, 16, 16), torch.nan), [0.1, 0.2, 0.3]), "numbers that are not finite"),
    ],
)
def test_a_failure_keeps_the_mask_and_is_said_once(answer: Any, reason: str) -> None:
    refiner, told = steady(Scripted(answer, answer, answer))
    for _ in range(3):
        refined = refiner.refine(IMAGE, LOGITS, MASK)
        np.testing.assert_array_equal(refined, MASK)
        assert refined is not MASK
    assert len(told) == 1 and told[0].startswith("sam:test: ") and reason in told[0] and "\n" not in told[0]
    assert refiner.failed == 3


def test_out_of_memory_for_many_tries_one_by_one() -> None:
    good = (proposals(MEANT), [0.9])
    refiner, told = steady(Scripted(torch.OutOfMemoryError("out of memory"), good, good, good, good))
    refined = refiner.refine_all(IMAGE, [LOGITS, LOGITS], [MASK, MASK])
    assert not told and refiner.failed == 0
    np.testing.assert_array_equal(*refined)
    assert (refined[0] != MASK).any()


def test_a_failure_frees_the_kept_embeddings() -> None:
    good = (proposals(MEANT), [0.9])
    network = Scripted(good, good, torch.OutOfMemoryError("out of memory"), good, good)
    refiner, _ = steady(network)
    embedded = []
    for _ in range(3):
        refiner.refine(IMAGE, LOGITS, MASK)
        embedded.append(network.embedded)
    assert embedded == [1, 1, 2]


def test_one_bad_mask_does_not_take_the_others_along() -> None:
    good = (proposals(MEANT), [0.9])
    refiner, told = steady(Scripted(good, good))
    small = np.ones((3, 3), bool)
    refined = refiner.refine_all(IMAGE, [LOGITS, LOGITS], [small, MASK])
    np.testing.assert_array_equal(refined[0], small)
    assert (refined[1] != MASK).any() and refiner.failed == 1
    assert len(told) == 1 and "[3, 3]" in told[0] and "[40, 64]" in told[0]


def test_ctrl_c_is_no_failure() -> None:
    refiner, _ = steady(Scripted(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        refiner.refine(IMAGE, LOGITS, MASK)


def folder_of(kind: str, path: Path) -> str:
    """A specification that is wrong in some way."""
    folder = path / "folder"
    folder.mkdir()
    match kind:
        case "nothing there":
            return f"sam:{path / 'sam_vit_b_01ec64.pth'}"
        case "empty folder":
            return f"sam:{folder}"
        case "another family":
            (folder / "config.json").write_text('{"model_type": "sam2"}')
            return f"sam:{folder}"
        case "not in the cache":
            return "sam:facebook/sam-vit-huge"
        case "weights missing":
            model = tiny_sam()
            del model.mask_decoder.iou_token
            model.save_pretrained(folder)
            return f"sam:{folder}"
        case "official weights missing":
            state = official_state(tiny_sam())
            del state["mask_decoder.iou_token.weight"]
            torch.save(state, path / "weights.pth")
        case "another model":
            torch.save({"layer.weight": torch.zeros(3)}, path / "weights.pth")
        case "no table":
            torch.save(torch.zeros(3), path / "weights.pth")
        case "cut off":
            whole = official_file(tiny_sam(), path / "weights.pth").read_bytes()
            (path / "weights.pth").write_bytes(whole[: len(whole) // 2])
        case "hostile":
            (path / "weights.pth").write_bytes(pickle.dumps(Hostile(path / "broken into")))
        case "no such kind":
            return "sum:weights.pth"
        case "no path":
            return "sam"
    return f"sam:{path / 'weights.pth'}"


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


WEIGHTS_TO_GET = ("sam_vit_h_4b8939.pth", "facebook/sam-vit-huge")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("nothing there", ("no such file or folder", *WEIGHTS_TO_GET)),
        ("empty folder", ("no config.json", *WEIGHTS_TO_GET)),
        ("another family", ("'sam2'", *WEIGHTS_TO_GET)),
        ("not in the cache", ("no such model in the Hugging Face cache", *WEIGHTS_TO_GET)),
        ("weights missing", ("1 weights do not fit", "mask_decoder.iou_token.weight")),
        (
            "official weights missing",
            ("weights do not fit", 'Missing key(s) in state_dict: "mask_decoder.iou_token.weight".'),
        ),
        ("another model", ("not the weights of a SAM",)),
        ("no table", ("no table of tensors",)),
        ("cut off", ("cannot be read",)),
        ("hostile", ("cannot be read",)),
        ("no such kind", ("sam:PATH", *WEIGHTS_TO_GET)),
        ("no path", ("sam:PATH", *WEIGHTS_TO_GET)),
    ],
)
def test_a_refiner_that_cannot_be_had(
    kind: str, told: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    spec = folder_of(kind, tmp_path)
    capfd.readouterr()
    with pytest.raises(RefinerFault) as refused:
        load_refiner(spec)
    assert refused.value.exit_code == 2 and all(part in str(refused.value) for part in told)
    assert str(refused.value).startswith(f"--refine {spec}: ") and "--refine-optional" in refused.value.hint
    refiner = load_refiner(spec, optional=True)
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if line.startswith(f"--refine {spec}: ")]
    assert len(lines) == 1 and not out
    assert lines[0].endswith("; masks stay unrefined") and all(part in lines[0] for part in told)
    assert refiner.name == "none" and not (tmp_path / "broken into").exists()
    np.testing.assert_array_equal(refiner.refine(IMAGE, LOGITS, MASK), MASK)
    np.testing.assert_array_equal(refiner.refine_all(IMAGE, [LOGITS], [MASK]), [MASK])


@pytest.mark.parametrize(
    ("options", "told"),
    [({"preset": "best"}, "one of stamp, published"), ({"rounds": 0}, "1 or more"), ({"device": "cuda:99"}, "")],
)
def test_wrong_settings_are_told(options: dict[str, Any], told: str, tmp_path: Path) -> None:
    said: list[str] = []
    spec = f"sam:{official_file(tiny_sam(), tmp_path / 'weights.pth')}"
    assert load_refiner(spec, say=said.append, optional=True, **options).name == "none"
    assert len(said) == 1 and told in said[0]


def test_a_name_tells_what_refined(tmp_path: Path) -> None:
    spec = f"sam:{official_file(tiny_sam(), tmp_path / 'sam_vit_b_01ec64.pth')}"
    assert (
        load_refiner(spec, preset="published", seed=7).name == "sam:sam_vit_b_01ec64.pth (published, rounds 3, seed 7)"
    )
    assert load_refiner(spec, rounds=1).name == "sam:sam_vit_b_01ec64.pth (stamp, rounds 1, seed 0)"
