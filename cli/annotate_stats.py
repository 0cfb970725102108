"""`stamp-data annotate stats`: what annotating took, proposals, and agreement of two annotators."""

from __future__ import annotations

from pathlib import Path

from stamp_cli.console import print_json, say
from stamp_data.annotate.stats import AGREED, Agreement, AnnotateStats, agreement, annotate_stats
from stamp_data.text import printable
from stamp_schemas import UsageFault

TOLD = 10  # phrases


def show_stats(folders: list[Path], json: bool) -> None:
    """Print the statistics of one folder, or of two with how far they agree."""
    if not 1 <= len(folders) <= 2:
        raise UsageFault("stats takes one folder of annotations, or two that are compared")
    found = [annotate_stats(folder) for folder in folders]
    both = agreement(*folders) if len(folders) == 2 else None
    if json:
        rates = {name: one.rate for stats in found for name, one in stats.proposals.items()}
        print_json({"folders": found, "agreement": both, "accept_rate": rates})
        return
    for stats in found:
        _show(stats)
    if both is not None:
        _show_agreement(both)


def _show(stats: AnnotateStats) -> None:
    phrases = ", ".join(f"{count:,} {status}" for status, count in stats.statuses.items()) or "none"
    print(
        f"{stats.folder}: {stats.images:,} pictures, {stats.masks:,} masks; phrases: {phrases}; {stats.nothing:,} name nothing"
        + f"; {stats.dialogues:,} dialogues" * bool(stats.dialogues)
    )
    mask, phrase = _seconds(stats.seconds_per_mask), _seconds(stats.seconds_per_phrase)
    print(f"  {stats.seconds:,.0f} s of work; median {mask} a mask, {phrase} a phrase")
    for name, count in stats.by.items():
        print(f"  {name or 'nobody named'}: {count:,} phrases accepted")
    for name, one in stats.proposals.items():
        rate = "–" if one.rate is None else f"{one.rate:.0%}"
        fixed = "" if one.iou is None else f" (IoU with the proposal {one.iou:.2f})"
        print(
            f"  proposals of {name}: {rate} accepted unchanged: {one.unchanged:,}; {one.fixed:,} fixed{fixed}, "
            f"{one.rejected:,} rejected, {one.open:,} open"
        )
        if one.worded or one.reworded:
            print(f"    its phrases: {one.worded:,} accepted as it worded them, {one.reworded:,} in other words")
    for line in stats.damaged:
        say(f"passed over: {line}")


def _show_agreement(both: Agreement) -> None:
    if both.iou is None or both.agreed is None:
        print("agreement: no phrase is accepted in both")
        return
    print(
        f"agreement over {both.phrases:,} phrases: mean IoU {both.iou:.3f}, {both.agreed:.0%} at 0.5 or more; "
        f"{both.only_first:,} and {both.only_second:,} phrases of one alone"
    )
    apart = [pair for pair in both.pairs if pair.iou < AGREED]
    for pair in apart[:TOLD]:
        print(f"  {pair.iou:.2f} {pair.image}: {printable(pair.phrase)}")
    if len(apart) > TOLD:
        say(f"{len(apart) - TOLD:,} more are apart; --json has the IoU of each phrase")


def _seconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.1f} s"
