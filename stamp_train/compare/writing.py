"""Everything that a comparison leaves for people and programs, written into its folder."""

from __future__ import annotations

from stamp_data.writing import json_text, write_atomic
from stamp_train.compare import folder as files
from stamp_train.compare.curves import curves
from stamp_train.compare.page import page
from stamp_train.compare.results import Comparison
from stamp_train.compare.scenes import scenes, write_sheets
from stamp_train.compare.tables import markdown
from stamp_train.compare.work import Plan


def write(plan: Plan, found: Comparison, shown: int) -> None:
    """Results, tables, page, curves and `shown` scenes, as methods see them that have finished with the first seed."""
    seed = plan.seed_numbers[0]
    drawn = scenes(plan, [row.name for row in found.rows if seed in row.seeds], seed, shown)
    figure = curves(found)
    write_sheets(drawn, plan.out)
    write_atomic(plan.out / files.CURVES, figure.encode())
    write_atomic(plan.out / files.TABLE, _with_pictures(markdown(found), len(drawn)).encode())
    write_atomic(plan.out / files.PAGE, page(found, figure, drawn).encode())
    write_atomic(plan.out / files.RESULTS, json_text(found))


def _with_pictures(text: str, count: int) -> str:
    pictures = [f"![scene {number}]({files.PICTURES}/{number:02d}.jpg)" for number in range(count)]
    return "\n".join([text, f"![learning curves]({files.CURVES})", "", *pictures]) + "\n"
