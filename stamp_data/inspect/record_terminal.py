"""`--key`: one record in full on the terminal: dialogues, targets, flags, and its patches as blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.flags import FLAGS
from stamp_data.inspect.reading import StatsReader, UnreadableRecord
from stamp_data.inspect.record_stats import DialogueStats, RecordStats
from stamp_data.inspect.report_terminal import STYLES
from stamp_data.inspect.selection import DEFAULT, Selection
from stamp_data.rle import UInt8
from stamp_data.shards.stores import Location
from stamp_data.text import printable
from stamp_schemas import StampError
from stamp_schemas.record import FULL, IGNORE, SEG

SHADES = " ░▒▓█"
NARROW = 80  # characters: below, two patches share one block
DIALOGUES = 12  # written out; the others as one line each


def show_record(paths: Sequence[Location], key: str, console: Console, selection: Selection = DEFAULT) -> None:
    """Print the record called `key`. StampError if there is none, or it cannot be read."""
    with ConcatDataset(paths) as dataset:
        item = next(StatsReader(dataset, selection).read([dataset.find(key)]))
    if isinstance(item, UnreadableRecord):
        raise StampError(item.finding.detail, f"`stamp-data verify {paths[0]}` names every fault")
    _print_head(item, console)
    _print_flags(item, console)
    if item.record.targets:
        console.print(_targets(item))
        console.print()
        _print_origins(item, console)
        _print_patches(item, console)
    _print_dialogues(item, console)


def _print_head(stats: RecordStats, console: Console) -> None:
    record, row = stats.record, stats.row
    console.print(Text(printable(record.key), style="bold"))
    parts = [printable(stats.manifest.name), f"{row.shard}, row {row.row}"]
    if record.image is not None:
        parts.append(f"{printable(record.image.file_name)} {row.width}×{row.height}, {row.image_bytes / 1024:,.0f} KiB")
        parts.append(f"{row.grid_height}×{row.grid_width} patches")
    console.print(Text(" · ".join(parts), style="dim"))
    console.print()


def _print_flags(stats: RecordStats, console: Console) -> None:
    for finding in stats.findings:
        flag = FLAGS[finding.code]
        line = Text(f"{finding.code} ", style=STYLES[flag.severity]).append(f"{flag.title}: ", style="default")
        console.print(line.append(printable(finding.detail), style="dim"))
    if stats.findings:
        console.print()


def _targets(stats: RecordStats) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("target", no_wrap=True, overflow="ellipsis", max_width=32)
    table.add_column("category", no_wrap=True, overflow="ellipsis", max_width=24)
    for name in ("pixels", "area %", "patches", "patch IoU"):
        table.add_column(name, justify="right", no_wrap=True)
    for target, known, colour in zip(stats.record.targets, stats.targets, stats.colours, strict=True):
        label = Text("■ " if known.area else "□ ", style=colour).append(printable(target.id), style="default")
        categories = printable(", ".join(dict.fromkeys(target.categories)))
        quality = f"{known.iou:.3f}" if known.area else "–"
        area = f"{100 * known.area:.2f}"
        table.add_row(label, Text(categories), f"{target.area:,}", area, str(known.patches), quality)
    return table


def _print_origins(stats: RecordStats, console: Console) -> None:
    """Which raw records the targets were made of, as far as the set says so."""
    for target, colour in zip(stats.record.targets, stats.colours, strict=True):
        if target.where:
            mark = Text("■ " if target.area else "□ ", style=colour)
            console.print(mark.append(_origin(target.where), style="dim"))
    if any(target.where for target in stats.record.targets):
        console.print()


def _origin(where: list[str]) -> str:
    """`file: record, record`."""
    file, *records = where
    return printable(f"{file}: {', '.join(records)}")


def _print_patches(stats: RecordStats, console: Console) -> None:
    """The strongest label of each patch over all targets, in the colour of the target that has it."""
    if stats.labels is None:
        return
    for line in patch_art(stats.labels, stats.colours, wide=console.width >= NARROW):
        console.print(Padding(line, (0, 0, 0, 2)), no_wrap=True, crop=True)
    console.print()


def patch_art(labels: UInt8, shades: list[str], *, wide: bool) -> list[Text]:
    """labels [targets, grid height, grid width] as lines of blocks; `wide` gives each patch two characters."""
    known = np.where(labels == IGNORE, 0, labels)
    strongest, owner = known.max(axis=0), known.argmax(axis=0)
    lines = []
    for levels, owners in zip(strongest.tolist(), owner.tolist(), strict=True):
        line = Text(no_wrap=True, overflow="crop")
        for level, target in zip(levels, owners, strict=True):
            block = SHADES[-(-level * (len(SHADES) - 1) // FULL)] if level else "·"
            line.append(block * 2 if wide else block, style=shades[target] if level else "bright_black")
        lines.append(line)
    return lines


def _print_dialogues(stats: RecordStats, console: Console) -> None:
    shown = [dialogue for dialogue in stats.dialogues if dialogue.twin == dialogue.index]
    for dialogue in shown[:DIALOGUES]:
        _print_dialogue(stats, dialogue, console)
    for dialogue in shown[DIALOGUES:]:
        console.print(Text(f"  {printable(dialogue.text)}", overflow="ellipsis", no_wrap=True))


def _print_dialogue(stats: RecordStats, dialogue: DialogueStats, console: Console) -> None:
    raw = stats.record.dialogues[dialogue.index]
    passes = sum(other.twin == dialogue.index for other in stats.dialogues)
    note = f"  {raw.id} · {dialogue.kind.replace('_', ' ')}" + (f" · {passes} passes" if passes > 1 else "")
    heading = Text(printable(dialogue.text) or "(no expression)", style="bold")
    console.print(heading.append(printable(note), style="not bold dim"))
    if raw.where:
        console.print(Text(f"  {_origin(raw.where)}", style="dim"))
    targets = iter(raw.targets)
    for message in raw.messages:
        said = "".join("[picture] " if content.type == "image" else content.text for content in message.content)
        line = Text(f"{message.role:>9}  ", style="cyan" if message.role == "user" else "green")
        for number, piece in enumerate(printable(said).split(SEG)):
            if number:
                target = next(targets, -1) if message.role == "assistant" else -1
                line.append(SEG, style=f"bold {stats.colours[target]}" if 0 <= target < len(stats.colours) else "bold")
            line.append(piece, style="default")
        console.print(line)
    console.print()
