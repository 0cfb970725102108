"""Bare and broken surroundings: what is imported, and what is not needed. Each case is a fresh interpreter."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

USE = """
import sys
from PIL import Image
from stamp_train.backbones.presets import build_preset
from stamp_train.sequence.examples import DialogueExample, ImageExample
from stamp_train.sequence.layout import Layout
model, processor = build_preset("tiny")
pixels, = processor.images([Image.new("RGB", (70, 60))])
say = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "x"}]}]
batch = Layout(processor.chat, model.method)([ImageExample([DialogueExample("d", say)], pixels.pixel_values, pixels.grid_thw)])
print(model(inputs=batch.inputs).backend, processor.backend["image_backend"])
"""


def python(code: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(path) for path in (*paths, ROOT))}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_broken_torchvision_is_left_aside(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    info = tmp_path / "torchvision-0.28.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    broken = python("from transformers import Qwen2VLForConditionalGeneration", tmp_path)
    assert broken.returncode != 0  # what would happen without us
    result = python(USE, tmp_path)
    assert result.stdout.split() == ["segments", "pil"], result.stderr
    assert "torchvision is installed but broken" in result.stderr


def test_the_model_needs_nothing_of_the_data_side() -> None:
    blocked = ("pydantic", "stamp_data", "peft", "torchvision", "accelerate", "pyarrow")
    code = f"import sys\nfor name in {blocked}: sys.modules[name] = None\n{USE}"
    result = python(code)
    assert result.stdout.split() == ["segments", "pil"], result.stderr


def test_the_layout_does_not_load_transformers() -> None:
    result = python(
        "import sys, stamp_train.sequence.layout; print('transformers' in sys.modules, 'torch' in sys.modules)"
    )
    assert result.stdout.split() == ["False", "True"], result.stderr
