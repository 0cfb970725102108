"""The row that `--where` and `--sort` see: one per dialogue."""

from __future__ import annotations

from stamp_data.inspect.facts import DialogueFacts, Facts
from stamp_data.inspect.where import COLUMNS, Value


def dialogue_row(facts: Facts, dialogue: DialogueFacts) -> dict[str, Value]:
    """All columns of one dialogue, as `where.COLUMNS` describes them."""
    record, settings, row = facts.record, facts.manifest.settings, facts.row
    codes = facts.codes(dialogue)
    categories = {name for target in dialogue.targets for name in record.targets[target].categories}
    values: dict[str, Value] = {
        "key": record.key,
        "set": facts.manifest.name,
        "source": settings.dataset,
        "split": settings.split,
        "split_by": settings.split_by,
        "file": record.image.file_name if record.image else "",
        "width": row.width,
        "height": row.height,
        "kind": dialogue.kind,
        "text": dialogue.text,
        "answer": facts.answer(dialogue),
        "categories": tuple(sorted(categories)),
        "flags": (*codes, *(code.removeprefix("STP-") for code in codes)),
        "dialogues": len(record.dialogues),
        "targets": len(dialogue.targets),
        "turns": dialogue.turns,
        "chars": dialogue.chars,
        "tokens": dialogue.text_tokens,
        "image_tokens": row.image_tokens,
        "total_tokens": dialogue.total_tokens,
        "area": dialogue.area,
        "patches": dialogue.patches,
        "iou": dialogue.iou,
    }
    assert values.keys() == COLUMNS.keys()
    return values
