"""Model cards: where a model comes from, what it was trained on, and how well it did."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec

from stamp_data.shards.manifest import read_manifest
from stamp_schemas import StampError, UsageFault
from stamp_schemas.recipe import Data, Recipe
from stamp_train.backbones.saving import OLDEST
from stamp_train.eval.card import checkpoint_digest
from stamp_train.eval.results import read_results
from stamp_train.methods import settings_of
from stamp_train.recipes import resolve
from stamp_train.stream.stages import open_set
from stamp_train.train.folder import CONFIG, EVALUATIONS, RECIPE, run_folder
from stamp_train.train.runlog import read_rows

PATIENCE = 5.0  # seconds in which a place that cannot be reached is tried again
_PRECISIONS = {"bf16": "bfloat16", "float32": "float32"}
_METRICS = ("ciou", "giou")
_USE = """\
```
pip install '.[train]'  # in a clone of stamp-seg, which is on no package index
stamp-train predict {name} photo.jpg --expression 'left dog'
```

```python
from stamp_train.predict import Segmenter, question

segmenter = Segmenter.from_pretrained("{name}")
answer = segmenter.segment("photo.jpg", question("left dog"))
answer.text, answer.masks  # one bool [height, width] for each <|seg|>
```

`transformers` {oldest} and later opens the folder too, as the base model with the same words and without masks. Programs that
choose by the architecture's name (vLLM, llama.cpp's converter) know none of that; `stamp-train export {name} OUT --text-only`
writes the plain model for them.
"""
_USE_TEXT = """\
The words of a STAMP model without its mask side, for `transformers` {oldest} and later and for programs that know the plain
architecture alone:

```python
from transformers import AutoModelForImageTextToText, AutoTokenizer

model = AutoModelForImageTextToText.from_pretrained("{name}")
tokenizer = AutoTokenizer.from_pretrained("{name}")
```
"""


def model_card(
    checkpoint: Path, name: str, results: Sequence[Path] = (), base: str | Path = "", *, text_only: bool = False
) -> str:
    """The card of a checkpoint as Markdown.

    What it says comes from the run's folder, if the checkpoint lies in one, and from the results; the digests of shard sets
    are those of the sets that lie where the recipe says. checkpoint: folder with the weights, of the model called `name`.
    results: `results.json` of evaluations; base: what an adapter was put on; text_only: of the model without its mask side.
    UsageFault for results of another model, StampError for results that cannot be read.
    """
    run = run_folder(checkpoint)
    recipe = resolve(str(run / RECIPE)).recipe if run else None
    sections = {
        "Use": (_USE_TEXT if text_only else _USE).format(name=name, oldest=OLDEST),
        "Model": _model(checkpoint, recipe, base),
    }
    if run and recipe:
        sections["Training"] = _training(recipe)
        sections["Scores on held-out records while training"] = _held_out(run)
    sections["Scores"] = "\n".join(part for path in results for part in _scores(path, checkpoint))
    if run:
        sections["Recipe"] = f"```yaml\n{(run / RECIPE).read_text(encoding='utf-8').strip()}\n```\n"
    body = "\n".join(f"## {title}\n\n{text}" for title, text in sections.items() if text)
    return f"{_head(recipe, text_only)}\n# {name}\n\n{_about(checkpoint, recipe)}\n{body}"


_ABOUT = """\
A multimodal language model that answers in text and draws a segmentation mask for each `<|seg|>` it says: {title}.
{remarks}"""


def _about(checkpoint: Path, recipe: Recipe | None) -> str:
    path = checkpoint / CONFIG
    told = json.loads(path.read_bytes()).get("stamp") if path.is_file() else None
    method = recipe.method if recipe and not path.is_file() else settings_of(SimpleNamespace(stamp=told))
    return _ABOUT.format(
        title=method.title, remarks="".join(f"\n{remark.capitalize()}.\n" for remark in method.remarks)
    )


def _head(recipe: Recipe | None, text_only: bool) -> str:
    """What the Hugging Face hub reads."""
    base = f"base_model: {json.dumps(recipe.model.start)}\n" if recipe and recipe.model.start else ""
    return (
        f"---\nlibrary_name: transformers\npipeline_tag: {'image-text-to-text' if text_only else 'image-segmentation'}\n"
        f"{base}tags: [stamp, referring-segmentation, reasoning-segmentation]\n---\n"
    )


def _model(checkpoint: Path, recipe: Recipe | None, base: str | Path) -> str:
    facts: dict[str, object] = {"digest of the checkpoint (BLAKE3)": f"`{checkpoint_digest(checkpoint)}`"}
    if (checkpoint / CONFIG).is_file():
        config = json.loads((checkpoint / CONFIG).read_bytes())
        facts["weights"] = config.get("dtype", config.get("torch_dtype"))  # the latter as published
        facts |= {"family": config.get("model_type"), "mask side": _listed(config.get("stamp")) or "as published"}
    if base:
        facts["adapter on"] = Path(base).name
    if recipe:
        facts.setdefault("weights", _PRECISIONS[recipe.model.precision])  # of what an adapter is merged into
        facts["begun from"] = recipe.model.start or f"random weights ({recipe.model.preset})"
    return _table(("", ""), [(key, str(value)) for key, value in facts.items()])


def _listed(values: dict[str, object] | None) -> str:
    return ", ".join(f"{key} {value}" for key, value in (values or {}).items())


def _training(recipe: Recipe) -> str:
    """Sets with their digests."""
    rows = [
        (
            f"{stage.name} ({f'{stage.epochs:g} epochs' if stage.epochs else f'{stage.steps} steps'})",
            use.set,
            f"{use.passes:g}",
            _digest(recipe.data, use.set),
        )
        for stage in recipe.stages
        for use in stage.sets
    ]
    all_of_it = "all weights but the vision tower's" if recipe.model.freeze_vision else "all weights"
    how = "LoRA, merged" if recipe.model.tuning == "lora" else all_of_it
    how += f", layers in {_PRECISIONS[recipe.model.precision]}"
    method = _listed({name: value for name, value in msgspec.to_builtins(recipe.method).items() if value is not None})
    facts = f"Trained: {how}. Seed {recipe.seed}, {recipe.batch.dialogues} dialogues per step. Method: {method}.\n"
    return f"{facts}\n{_table(('stage', 'set', 'passes', 'digest of the set'), rows)}"


def _digest(data: Data, name: str) -> str:
    brief = msgspec.structs.replace(data, store_patience=min(data.store_patience, PATIENCE))  # a card can do without
    try:
        return f"`{read_manifest(open_set(brief, name)).digest}`"
    except StampError:
        return "not at hand when this was written"


def _held_out(run: Path) -> str:
    measured = read_rows(run / EVALUATIONS)
    if not measured:
        return ""
    last = measured[-1]
    return _table(("metric", f"after step {last['step']}"), [(k, f"{v:.4f}") for k, v in last["metrics"].items()])


def _scores(path: Path, checkpoint: Path) -> Iterator[str]:
    results = read_results(path)
    settings = results.card.settings
    if settings.checkpoint_digest != checkpoint_digest(checkpoint):
        raise UsageFault(f"{path}: results of another model ({settings.checkpoint})")
    rows = [
        (one.name, str(one.cases), variant, convention, *(_ratio(metrics.get(name)) for name in _METRICS))
        for one in results.sets
        for variant, conventions in one.scores.items()
        for convention, metrics in conventions.items()
    ]
    yield _table(("set", "cases", "variant", "convention", "cIoU", "gIoU"), rows)
    yield (
        f"Questions `{settings.prompt}`, {results.card.decoding}, {settings.upsampling} upsampling, seed {settings.seed}; "
        f"damaged cases: {len(results.damaged)}.\n"
    )


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
