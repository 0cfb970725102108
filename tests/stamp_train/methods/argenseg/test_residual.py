"""Codebooks fitted to masks: what they give back, that nothing depends on chance, and the file that they are kept in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stamp_data.rle import encode
from stamp_schemas import RLE, StampError, UsageFault
from stamp_train.backbones.presets import build_preset
from stamp_train.methods.argenseg.files import open_codec, save_residual
from stamp_train.methods.argenseg.quantiser import Quantiser, Scales
from stamp_train.methods.argenseg.residual import ResidualCodec, features, fit, k_means
from stamp_train.methods.argenseg.settings import ArgensegSettings

from ..making import record

SHAPE = {"scales": (1, 2, 4, 8, 16), "vocabulary": 64}
RECORDS = [record([("<|seg|>",) * 6], seed) for seed in range(20)]


def discs(count: int, size: tuple[int, int] = (90, 120)) -> list[RLE]:
    random = np.random.default_rng(9)
    rows, columns = np.mgrid[: size[0], : size[1]]
    found = []
    for _ in range(count):
        row, column, radius = random.integers(20, 70), random.integers(20, 100), random.integers(8, 40)
        found.append(encode((np.hypot(rows - row, columns - column) < radius).astype(np.uint8)))
    return found


def fitted(masks: list[RLE] | None = None) -> ResidualCodec:
    codec = ResidualCodec(SHAPE)
    codec.quantiser.books.copy_(fit(features(masks or discs(60), codec.scales.sides[-1]), codec.scales, 64))
    return codec


def test_masks_that_it_was_not_fitted_to_come_back() -> None:
    codec, masks = fitted(discs(80)[:60]), discs(80)[60:]
    wanted = torch.nn.functional.pixel_shuffle(features(masks, 16), 4)[:, 0] > 0.5
    found = codec.decode(codec.encode(masks)) > 0.5
    ratio = (wanted & found).flatten(1).sum(1) / (wanted | found).flatten(1).sum(1)
    assert float(ratio.mean()) > 0.9


def test_codes_are_the_nearest_vectors_of_what_is_missing() -> None:
    """By brute force, cell by cell."""
    codec, [mask] = fitted(), discs(1)
    codes, missing = codec.encode([mask])[0], features([mask], codec.scales.sides[-1])
    for scale, side in enumerate(codec.scales.sides):
        step = 16 // side
        cells = missing[0].reshape(16, side, step, side, step).mean((2, 4)).flatten(1).T
        distance = (cells[:, None] - codec.quantiser.books[scale][None]).square().sum(-1)
        own = codes[codec.scales.part(scale)]
        assert torch.allclose(distance.gather(1, own[:, None])[:, 0], distance.min(1).values, atol=1e-5)
        found = codec.quantiser.books[scale][own].T.reshape(1, 16, side, side)
        if side < 16:
            found = torch.nn.functional.interpolate(found, size=(16, 16), mode="bicubic")
        missing = missing - found


def test_what_is_known_before_a_code_comes_from_the_scales_before_it_alone() -> None:
    codec = fitted()
    codes = codec.encode(discs(1))
    known = codec.embed(codes)
    for scale in range(1, len(codec.scales)):
        part = codec.scales.part(scale)
        changed = codes.clone()
        changed[:, part.start :] = 0
        same = slice(part.start - 1, part.stop - 1)
        assert torch.equal(codec.embed(changed)[:, same], known[:, same])


def test_the_same_masks_give_the_same_books_and_bfloat16_holds_them() -> None:
    one, two = fitted(), fitted()
    assert torch.equal(one.quantiser.books, two.quantiser.books) and one.digest == two.digest
    assert torch.equal(one.quantiser.books.bfloat16().float(), one.quantiser.books)
    assert one.digest != fitted(discs(30)).digest


def test_fewer_vectors_than_means_leave_zeros_and_no_vectors_nothing_else() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    means = k_means(vectors, 5, seed=0)
    assert sorted(means.tolist()) == [[0.0, 0.0]] * 3 + [[0.0, 1.0], [1.0, 0.0]]
    assert not k_means(torch.zeros(4, 2), 3, seed=0).any()


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    codec = fitted()
    save_residual(codec, tmp_path / "c.safetensors")
    again, shape = open_codec(tmp_path / "c.safetensors")
    assert shape == {"kind": "residual", **SHAPE, "digest": codec.digest}
    masks = discs(3)
    assert torch.equal(again.encode(masks), codec.encode(masks))
    assert (tmp_path / "c.safetensors").stat().st_size < 30_000


def test_a_new_network_fits_its_codec_to_the_records_and_one_with_a_file_takes_that(tmp_path: Path) -> None:
    settings = ArgensegSettings(scales=(1, 2, 4), vocabulary=16)
    model, _ = build_preset("tiny", method=settings)
    assert not model.classifier.codec.quantiser.books.any()
    model.method.begin_readout(model.classifier, lambda: RECORDS)
    books = model.classifier.codec.quantiser.books
    assert books[:, 1:].any() and model.method.label(RECORDS[0], 0, (2, 2), None).any()
    codec = ResidualCodec({"scales": (1, 2, 4), "vocabulary": 16}, books.clone())
    save_residual(codec, tmp_path / "c.safetensors")
    named = ArgensegSettings(file=str(tmp_path / "c.safetensors")).complete()
    assert named.tokens_per_mask(7) == 21 and named.shape is not None and named.shape["digest"] == codec.digest
    other, _ = build_preset("tiny", method=named)
    named.method().begin_readout(other.classifier, lambda: [])
    assert torch.equal(other.classifier.codec.quantiser.books, books)


def test_wrong_settings_and_files_get_a_line(tmp_path: Path) -> None:
    for scales in ((4, 2), (2, 4), (1,), (1, 65)):  # of (2, 4), three codes would have no token that predicts them
        with pytest.raises(ValueError, match="scales grow"):
            ArgensegSettings(scales=scales)
    with pytest.raises(ValueError, match="scales grow"):
        ArgensegSettings(shape={"kind": "residual", "scales": [1, 100_000], "vocabulary": 16})
    with pytest.raises(ValueError, match="vocabulary"):
        ArgensegSettings(vocabulary=1)
    with pytest.raises(UsageFault, match=r"method\.file: codec var needs its weights"):
        ArgensegSettings(codec="var").complete()
    save_residual(fitted(), tmp_path / "c.safetensors")
    with pytest.raises(UsageFault, match="holds a codec of kind residual"):
        ArgensegSettings(codec="var", file=str(tmp_path / "c.safetensors")).sized()
    trained = ArgensegSettings(file=str(tmp_path / "c.safetensors")).sized()
    save_residual(fitted(discs(20)), tmp_path / "other.safetensors")
    with pytest.raises(UsageFault, match="is not the codec of the checkpoint"):
        ArgensegSettings(file=str(tmp_path / "other.safetensors")).over(trained)
    with pytest.raises(UsageFault, match="is not the codec of the checkpoint"):
        ArgensegSettings(file=str(tmp_path / "c.safetensors")).over(ArgensegSettings().sized())  # fitted to its sets
    with pytest.raises(StampError, match="no masks to fit"):
        ResidualCodec(SHAPE).begin([])


@pytest.mark.parametrize(
    ("scales", "books", "told"),
    [
        ("2,4,8", torch.zeros(3, 8, 16), "scales grow"),
        ("1,2,70000", torch.zeros(3, 8, 16), "scales grow"),
        ("1,2,4", torch.zeros(3, 32769, 16), "vocabulary is 2 to 32768"),
        ("1,2,4", torch.full((3, 8, 16), torch.nan), "not finite"),
        ("1,2", torch.zeros(3, 8, 16), "no codebooks"),
        ("1,two,4", torch.zeros(3, 8, 16), "cannot be opened"),
    ],
)
def test_files_of_codes_that_no_mask_can_have_are_refused(
    scales: str, books: Tensor, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    save_file({"books": books}, path, {"codec": "residual", "scales": scales})
    with pytest.raises(StampError, match=told) as fault:
        open_codec(path)
    assert str(path) in fault.value.message


def test_a_quantiser_of_one_book_uses_it_at_every_scale() -> None:
    book = torch.randn(1, 8, 4, generator=torch.Generator().manual_seed(1))
    one, many = Quantiser(Scales((1, 2)), book), Quantiser(Scales((1, 2)), book.expand(2, -1, -1))
    picture = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(2))
    assert torch.equal(one.encode(picture), many.encode(picture))
