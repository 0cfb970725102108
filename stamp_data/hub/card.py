"""The card of a dataset of built sets: what is in it, under which licences, and what was lost on the way."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from stamp_data.sources.faults import REASONS
from stamp_schemas import Manifest, Reject

CARD = "README.md"
MARK = "<!-- written by `stamp-data hub push`, which writes it anew as long as this line is there -->"
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")
_USE = """\
```
pip install '.[train]'  # in a clone of stamp-seg, which is on no package index
stamp-data hub pull {name} --out shards
stamp-data inspect shards
```

The tars are WebDataset shards; `manifest.json` of each set has the digest of every file, `index.parquet` a row per record.
"""


class Told(msgspec.Struct):
    """What a card says of one set."""

    manifest: Manifest
    rejects: list[Reject]


def is_licence(name: str) -> bool:
    """Whether the hub could know a licence by this name, such as `cc-by-4.0`."""
    return bool(_LICENCE.fullmatch(name))


def card(name: str, sets: Sequence[Told], licence: str = "") -> str:
    """The card as Markdown with the hub's fields. licence: of the whole, as the hub calls it; else each set's own is named."""
    known = [f"license: {licence}"] if licence else ["license: other", "license_name: of-the-sources"]
    head = [*known, "task_categories: [image-segmentation]", "tags: [stamp, referring-segmentation, webdataset]"]
    lines = ["---", *head, "configs:", *_configs(sets), "---", MARK, "", f"# {name.rpartition('/')[2]}", ""]
    lines += ["Sets for referring segmentation, built by stamp-seg.", ""]
    totals = [(one.manifest, one.manifest.totals) for one in sets]
    lines += _table(
        ("set", "records", "dialogues", "targets", "bytes", "digest"),
        [(m.name, t.records, t.dialogues, t.targets, t.bytes, f"`{m.digest[:16]}`") for m, t in totals],
    )
    lines += ["", "## Use", "", _USE.format(name=name), "## Licences", ""]
    if licence:
        lines += [f"The whole: `{licence}`. Of the sources:", ""]
    lines += _table(("set", "licence", "home"), [(m.name, m.licence, m.homepage) for m, _ in totals])
    lines += ["", "## What is not in it", "", *_losses(sets), ""]
    return "\n".join(lines)


def _configs(sets: Sequence[Told]) -> Iterable[str]:
    """Of each dataset its splits, by which the hub's viewer shows them."""
    by_dataset: dict[str, list[Manifest]] = defaultdict(list)
    for one in sets:
        by_dataset[one.manifest.settings.set_name].append(one.manifest)
    for name, manifests in by_dataset.items():
        yield f"- config_name: {_quoted(name)}"
        yield "  data_files:"
        for manifest in manifests:
            yield f"  - split: {_quoted(re.sub(r'[^A-Za-z0-9_]', '_', manifest.settings.split))}"
            yield f"    path: {_quoted(f'{manifest.name}/*.tar')}"


def _losses(sets: Sequence[Told]) -> list[str]:
    """What was refused or altered, by set and reason; the rows themselves are in each set's rejects.jsonl."""
    counts: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for one in sets:
        for row in one.rejects:
            count = counts[one.manifest.name, row.action, row.reason]
            count[0] += 1
            count[1] += row.expressions
    if not counts:
        return ["Nothing of the sources was refused."]
    rows = [(*key, *counts[key], REASONS.get(key[2], "")) for key in sorted(counts)]
    return _table(("set", "what became of it", "reason", "entries", "expressions lost", "that is"), rows)


def _quoted(text: str) -> str:
    """A text in YAML."""
    return msgspec.json.encode(text).decode()


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [f"| {' | '.join(map(_cell, line))} |" for line in (head, ["---"] * len(head), *rows)]


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
