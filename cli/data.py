"""`stamp-data`: raw datasets to shard sets. One command is one function of a module beside this one."""

from __future__ import annotations

import gc
from collections.abc import Callable

from stamp_cli import export, inspect, look, make
from stamp_cli.console import epilog, new_app, run

MAKE, LOOK, TAKE = "Make", "Look and check", "Take elsewhere"
COMMANDS: dict[Callable[..., None], tuple[str, tuple[str, ...]]] = {
    make.synth: (MAKE, ("stamp-data synth playground", "stamp-data synth big --images 5000 --size 640x480")),
    make.doctor: (MAKE, ("stamp-data doctor playground/data", "stamp-data doctor playground/data --json")),
    make.build: (
        MAKE,
        (
            "stamp-data build refcoco --root playground/data --out shards",
            "stamp-data build all --root playground/data --out shards --passes 2",
            "stamp-data build coco --root my/instances.json --out shards",
        ),
    ),
    inspect.inspect: (
        LOOK,
        (
            "stamp-data inspect shards",
            "stamp-data inspect shards/refcoco-unc/val --html gallery.html",
            "stamp-data inspect shards --where 'kind == \"no_target\" or area < 0.01' --sheet small.png",
            "stamp-data inspect shards --json --fail-on error,STP-W003",
        ),
    ),
    inspect.explain: (LOOK, ("stamp-data explain STP-W003",)),
    look.verify: (
        LOOK,
        ("stamp-data verify shards", "stamp-data verify shards/refcoco-unc/val --repair --root playground/data"),
    ),
    export.export: (
        TAKE,
        (
            "stamp-data export shards/refcoco-unc/val --to coco --out refcoco-coco",
            "stamp-data export shards --to hf --out dataset",
        ),
    ),
}
"""Command -> (panel of the help, examples)."""

app = new_app(
    "Raw referring-segmentation datasets in, WebDataset shard sets out; look at them, check them, take them elsewhere."
)
for command, (panel, examples) in COMMANDS.items():
    app.command(rich_help_panel=panel, epilog=epilog(*examples))(command)


def main() -> None:
    try:
        run(app)
    finally:
        gc.freeze()  # the process ends: going through all objects once more for cycles would take longer than the rest
