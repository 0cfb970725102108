"""The tiny VQ-VAE of the golden numbers, under its published names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from stamp_train.methods.argenseg.var import VarCodec, shape_of

GOLDEN = Path(__file__).parents[3] / "data/golden"
SCALES = (1, 2, 3, 4)
NUMBERS = np.load(GOLDEN / "var/var.npz")


def theirs(name: str) -> Tensor:
    return torch.from_numpy(NUMBERS[name])


def tiny_weights() -> dict[str, Tensor]:
    return {name: weight.float() for name, weight in load_file(GOLDEN / "var/vae_tiny.safetensors").items()}


def tiny_var() -> VarCodec:
    weights = tiny_weights()
    codec = VarCodec(shape_of(weights, SCALES), encodes=True)
    codec.load(weights)
    return codec
