"""`stamp-train`: shard sets to models, models to masks. One command is one function of a module beside this one."""

from __future__ import annotations

import sys

from stamp_cli import console

TRAIN, USE = "Train", "Use"
COMMANDS: console.Commands = {
    "recipes": (TRAIN, "train_recipes", ("stamp-train recipes", "stamp-train recipes stamp-7b-lora")),
    "run": (
        TRAIN,
        "train_run",
        (
            "stamp-train run stamp-2b --set data.root=shards --dry-run --device h100",
            "stamp-train run tiny --set data.root=shards --out runs/tiny",
            "stamp-train run tiny --out runs/tiny --resume auto",
            "stamp-train run stamp-2b --launcher slurm --nodes 4 --gpus-per-node 8 --print-script",
        ),
    ),
    "codes": (
        TRAIN,
        "codes",
        (
            "stamp-train codes vae_ch160v4096z32.pth shards/refcoco-unc/train shards/refcoco-unc/val",
            "stamp-train codes residual shards/refcoco-unc/train --out masks.safetensors",
        ),
    ),
    "verify": (TRAIN, "train_verify", ("stamp-train verify runs/tiny", "stamp-train verify runs/tiny --json")),
    "plan": (TRAIN, "train_plan", ()),
    "env": (TRAIN, "train_env", ("stamp-train env", "stamp-train env --json")),
    "eval": (
        USE,
        "evaluate",
        (
            "stamp-train eval runs/tiny shards/refcoco-unc/val shards/grefcoco-unc/val",
            "stamp-train eval runs/tiny shards/refcoco-unc/val --mode both --refine sam:sam_vit_h_4b8939.pth -p 8",
            "stamp-train eval --oracle shards/refcoco-unc/val",
            "stamp-train eval --oracle stamp-2b shards/refcoco-unc/val",
        ),
    ),
    "compare": (
        TRAIN,
        "compare",
        (
            "stamp-train compare --methods",
            "stamp-train compare stamp-fine text4seg-16 --seeds 1 --set data.root=shards",
            "stamp-train compare all --recipe compare-2b --dry-run --device h100 --devices 8",
        ),
    ),
    "predict": (
        USE,
        "predict",
        (
            "stamp-train predict runs/tiny photo.jpg --expression 'left dog'",
            "stamp-train predict runs/tiny photos --text 'What is in the picture?' --out answers",
            "stamp-train predict runs/tiny requests.jsonl --json",
        ),
    ),
    "export": (
        USE,
        "export_model",
        (
            "stamp-train export runs/tiny stamp-tiny",
            "stamp-train export runs/tiny stamp-tiny --results evaluations/runs-tiny/results.json --overwrite",
        ),
    ),
    "chat": (USE, "chat", ("stamp-train chat runs/tiny photo.jpg", "stamp-train chat runs/tiny photo.jpg --web")),
}
"""Command -> (panel of the help, module, examples)."""


def app(called: str = "") -> console.App:
    return console.new_app("Train, evaluate and use STAMP models on shard sets.", COMMANDS, called)


def main() -> None:
    console.run(app(*sys.argv[1:2]))


if __name__ == "__main__":  # torchrun starts modules
    main()
