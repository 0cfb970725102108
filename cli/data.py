"""`stamp-data`: raw datasets to shard sets. One command is one function of a module beside this one."""

from __future__ import annotations

import gc
import sys

from stamp_cli import console

MAKE, LOOK, TAKE = "Make", "Look and check", "Take elsewhere"
COMMANDS: console.Commands = {
    "synth": (MAKE, "make", ("stamp-data synth playground", "stamp-data synth big --images 5000 --size 640x480")),
    "doctor": (MAKE, "make", ("stamp-data doctor playground/data", "stamp-data doctor playground/data --json")),
    "annotate": (
        MAKE,
        "annotate",
        (
            "stamp-data annotate photos",
            "stamp-data annotate photos --out phrases --by Ada --predict run",
            "stamp-data annotate stats photos/annotations",
            "stamp-data annotate patch photos/annotations --out fixes.jsonl",
        ),
    ),
    "build": (
        MAKE,
        "make",
        (
            "stamp-data build refcoco --root playground/data --out shards",
            "stamp-data build all --root playground/data --out shards --passes 2",
            "stamp-data build coco --root my/instances.json --out shards",
            "stamp-data build refcoco_parquet --root hf:jxu124/refcoco --images train2014 --out shards",
        ),
    ),
    "inspect": (
        LOOK,
        "inspect",
        (
            "stamp-data inspect shards",
            "stamp-data inspect shards/refcoco-unc/val --html gallery.html",
            "stamp-data inspect shards --where 'kind == \"no_target\" or area < 0.01' --sheet small.png",
            "stamp-data inspect shards --json --fail-on error,STP-W003",
        ),
    ),
    "explain": (LOOK, "inspect", ("stamp-data explain STP-W003",)),
    "verify": (
        LOOK,
        "look",
        ("stamp-data verify shards", "stamp-data verify shards/refcoco-unc/val --repair --root playground/data"),
    ),
    "export": (
        TAKE,
        "export",
        (
            "stamp-data export shards/refcoco-unc/val --to coco --out refcoco-coco",
            "stamp-data export shards --to hf --out dataset",
            "stamp-data export shards --to llama-factory --out data --allow-loss",
        ),
    ),
    "convert": (
        TAKE,
        "convert",
        (
            "stamp-data convert annotations.xml pets-coco",
            "stamp-data convert my/instances.json tasks --to label_studio --polygons",
            "stamp-data convert shards/refcoco-unc table --to masks --allow-loss",
        ),
    ),
    "hub": (TAKE, "hub", ()),
}
"""Command -> (panel of the help, module, examples)."""
ABOUT = (
    "Raw referring-segmentation datasets in, WebDataset shard sets out; look at them, check them, take them elsewhere."
)


def app(called: str = "") -> console.App:
    return console.new_app(ABOUT, COMMANDS, called)


def main() -> None:
    try:
        console.run(app(*sys.argv[1:2]))
    finally:
        gc.freeze()  # the process ends: going through all objects once more for cycles would take longer than the rest
