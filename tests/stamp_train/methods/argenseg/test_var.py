"""VAR's VQ-VAE against what its published code computes, and files that are none of it."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stamp_data.rle import encode
from stamp_schemas import StampError, UsageFault
from stamp_train.methods.argenseg.files import open_codec, read_codec
from stamp_train.methods.argenseg.quantiser import Quantiser, Scales, map_of
from stamp_train.methods.argenseg.var import PUBLISHED, VarCodec, published_name, shape_of

from .vaes import GOLDEN, NUMBERS, SCALES, theirs, tiny_var, tiny_weights

FACTS = json.loads((GOLDEN / "var/var.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", ["noise", "mask"])
def test_codes_inputs_and_reconstructions_are_the_published_ones(kind: str) -> None:
    codec = tiny_var()
    with torch.no_grad():
        features = codec.features(theirs(f"tiny/{kind}/images"))
    torch.testing.assert_close(features, theirs(f"tiny/{kind}/latent"), atol=1e-4, rtol=0)
    codes = codec.quantiser.encode(features)
    assert torch.equal(codes, theirs(f"tiny/{kind}/codes").long())
    torch.testing.assert_close(codec.embed(codes), theirs(f"tiny/{kind}/var_input"), atol=1e-4, rtol=0)
    for found, wanted in zip(codec.quantiser.pictures(codes), theirs(f"tiny/{kind}/f_hat_per_scale"), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    *_, last = codec.quantiser.pictures(codes)
    reconstruction = theirs(f"tiny/{kind}/reconstruction")
    torch.testing.assert_close(codec.reconstruct(last), reconstruction, atol=1e-4, rtol=0)
    torch.testing.assert_close(codec.decode(codes), (reconstruction.mean(1) + 1) / 2, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["q_share4", "q_share1", "q_share0", "q_znorm"])
def test_the_quantiser_alone_in_all_its_published_forms(name: str) -> None:
    weights = sorted(found for found in NUMBERS.files if found.startswith(f"{name}/weights/quant_resi"))
    maps = [
        (theirs(found), theirs(found.replace("weight", "bias").replace("/biass", "/weights")))
        for found in weights
        if found.endswith("weight")
    ]
    fact = FACTS[name]
    book = theirs(f"{name}/weights/embedding.weight")[None]
    quantiser = Quantiser(Scales(fact["patch_nums"]), book, maps, cosine=fact["znorm"])
    codes = quantiser.encode(theirs(f"{name}/latent"))
    assert torch.equal(codes, theirs(f"{name}/codes").long())
    torch.testing.assert_close(quantiser.inputs(codes), theirs(f"{name}/var_input"), atol=1e-6, rtol=0)
    if fact["phi_of_scale"]:
        assert [map_of(scale, len(quantiser.scales), 4) for scale in range(len(quantiser.scales))] == fact[
            "phi_of_scale"
        ]


def test_the_published_scales_use_the_published_maps() -> None:
    assert [map_of(scale, 10, 4) for scale in range(10)] == FACTS["published_phi_of_scale"]


def test_the_published_file_is_known_by_its_324_names() -> None:
    names = json.loads((GOLDEN / "var/keys_ch160v4096z32.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        codec = VarCodec(PUBLISHED, encodes=True)
    ours = {published_name(name): list(buffer.shape) for name, buffer in codec.named_buffers()}
    ours["quantize.embedding.weight"] = ours["quantize.embedding.weight"][1:]
    assert {name: shape for name, shape in names.items() if name != "quantize.ema_vocab_hit_SV"} == ours
    assert len(names) == 324 and sum(np.prod(shape) for shape in ours.values()) > 108e6


def test_ten_scales_of_256_pixels_with_weights_by_the_formula() -> None:
    """The published class with fewer channels: every layer, and the way from 16 cells to 256 pixels."""
    fact = FACTS["formula"]
    shape = {**PUBLISHED, "vocabulary": fact["vocab"], "width": fact["z"], "widths": (32, 32, 64, 64, 128)}
    codec = VarCodec(shape, encodes=True)
    with torch.no_grad():
        for name, buffer in codec.named_buffers():
            published = published_name(name)
            buffer.copy_(by_formula(published, buffer[0] if name == "quantiser.books" else buffer).view_as(buffer))
        codes = theirs("formula/mask/codes").long()
        torch.testing.assert_close(codec.embed(codes), theirs("formula/mask/var_input"), atol=1e-4, rtol=0)
        *_, last = codec.quantiser.pictures(codes)
        torch.testing.assert_close(last, theirs("formula/mask/f_hat_last"), atol=1e-4, rtol=0)
        small = torch.nn.functional.avg_pool2d(codec.reconstruct(last), 8)
        torch.testing.assert_close(small, theirs("formula/mask/reconstruction"), atol=1e-4, rtol=0)
        assert torch.equal(codec.quantiser.encode(theirs("formula/mask/latent")), codes)


def by_formula(name: str, like: Tensor) -> Tensor:
    """Numbers in -1 to 1 of a name and a place, scaled by what kind of weight it is."""
    mask = (1 << 64) - 1
    seed = (zlib.crc32(name.encode()) * 0xD1B54A32D192ED03) & mask
    with np.errstate(over="ignore"):
        z = np.arange(1, like.numel() + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    u = (z >> np.uint64(40)).astype(np.float64) / 2**24 * 2 - 1
    if name == "quantize.embedding.weight":
        found = u
    elif name.endswith("weight") and like.ndim == 4:
        found = u * np.sqrt(3 / (like[0].numel()))
    elif name.endswith("weight"):
        found = 1 + 0.2 * u
    else:
        found = 0.1 * u
    return torch.from_numpy(found.astype(np.float32)).view(like.shape)


def written(folder: Path, weights: dict[str, Tensor]) -> Path:
    save_file(weights, folder / "vae.safetensors", {"scales": ",".join(map(str, SCALES))})
    return folder / "vae.safetensors"


def test_one_codec_whatever_file_it_comes_from(tmp_path: Path) -> None:
    weights = tiny_weights()
    codec, shape = open_codec(written(tmp_path, weights))
    assert shape["kind"] == "var" and shape["digest"] == shape_of(weights, SCALES)["digest"]
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:50] = 1
    assert torch.equal(codec.encode([encode(mask)]), tiny_var().encode([encode(mask)]))


def test_a_pickle_of_tensors_is_read_and_one_of_anything_else_is_not_run(tmp_path: Path) -> None:
    ten = {name: weight for name, weight in tiny_weights().items() if "ema" not in name}
    ten["quantize.ema_vocab_hit_SV"] = torch.zeros(10, 64)
    torch.save(ten, tmp_path / "vae.pth")
    shape, weights = read_codec(tmp_path / "vae.pth")
    assert shape["scales"] == PUBLISHED["scales"] and len(weights) == len(ten)
    ran = tmp_path / "ran"
    torch.save({"x": _Runs(ran)}, tmp_path / "bad.pth")
    with pytest.raises(StampError, match=r"bad\.pth: cannot be opened"):
        read_codec(tmp_path / "bad.pth")
    assert not ran.exists()
    torch.save({"x": torch.zeros(1).expand(1 << 40)}, tmp_path / "large.pth")
    with pytest.raises(StampError, match=r"large\.pth: tensors of more numbers than any codec has"):
        read_codec(tmp_path / "large.pth")


class _Runs:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_files_that_are_no_codec_get_one_line(tmp_path: Path) -> None:
    weights = tiny_weights()
    with pytest.raises(UsageFault, match="no file of a codec"):
        read_codec(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(StampError, match=r"text\.pth: cannot be opened"):
        read_codec(tmp_path / "text.pth")
    for name, change, told in (
        ("lacking", {"decoder.conv_in.bias": None}, "1 names are lacking or too many"),
        ("shape", {"decoder.conv_in.bias": torch.zeros(3)}, r"decoder\.conv_in\.bias is torch\.float32 \(3,\)"),
        ("nan", {"decoder.conv_in.bias": torch.full((64,), float("nan"))}, "not finite"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        changed = {key: value for key, value in {**weights, **change}.items() if value is not None}
        with pytest.raises(StampError, match=told) as fault:
            read_codec(written(folder, changed))
        assert str(folder) in fault.value.message
