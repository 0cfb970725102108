"""`stamp-train`: shard sets to models, models to masks. One command is one function of a module beside this one."""

from __future__ import annotations

from collections.abc import Callable

from stamp_cli import (
    chat,
    compare,
    console,
    evaluate,
    export_model,
    predict,
    train_plan,
    train_recipes,
    train_run,
    train_verify,
)

TRAIN, USE = "Train", "Use"
COMMANDS: dict[Callable[..., None], tuple[str, tuple[str, ...]]] = {
    train_recipes.recipes: (TRAIN, ("stamp-train recipes", "stamp-train recipes stamp-7b-lora")),
    train_run.run: (
        TRAIN,
        (
            "stamp-train run stamp-2b --set data.root=shards --dry-run --device h100",
            "stamp-train run tiny --set data.root=shards --out runs/tiny",
            "stamp-train run tiny --out runs/tiny --resume auto",
            "stamp-train run stamp-2b --launcher slurm --nodes 4 --gpus-per-node 8 --print-script",
        ),
    ),
    train_verify.verify: (TRAIN, ("stamp-train verify runs/tiny", "stamp-train verify runs/tiny --json")),
    evaluate.eval: (
        USE,
        (
            "stamp-train eval runs/tiny shards/refcoco-unc/val shards/grefcoco-unc/val",
            "stamp-train eval runs/tiny shards/refcoco-unc/val --mode both --refine sam:sam_vit_h_4b8939.pth -p 8",
            "stamp-train eval --oracle shards/refcoco-unc/val",
            "stamp-train eval --oracle stamp-2b shards/refcoco-unc/val",
        ),
    ),
    compare.compare: (
        TRAIN,
        (
            "stamp-train compare --methods",
            "stamp-train compare stamp-fine text4seg-16 --seeds 1 --set data.root=shards",
            "stamp-train compare all --recipe compare-2b --dry-run --device h100 --devices 8",
        ),
    ),
    predict.predict: (
        USE,
        (
            "stamp-train predict runs/tiny photo.jpg --expression 'left dog'",
            "stamp-train predict runs/tiny photos --text 'What is in the picture?' --out answers",
            "stamp-train predict runs/tiny requests.jsonl --json",
        ),
    ),
    export_model.export: (
        USE,
        (
            "stamp-train export runs/tiny stamp-tiny",
            "stamp-train export runs/tiny stamp-tiny --results evaluations/runs-tiny/results.json --overwrite",
        ),
    ),
    chat.chat: (USE, ("stamp-train chat runs/tiny photo.jpg", "stamp-train chat runs/tiny photo.jpg --web")),
}
"""Command -> (panel of the help, examples)."""

app = console.new_app("Train, evaluate and use STAMP models on shard sets.")
for command, (panel, examples) in COMMANDS.items():
    app.command(rich_help_panel=panel, epilog=console.epilog(*examples))(command)
app.add_typer(train_plan.app, name="plan", rich_help_panel=TRAIN)


def main() -> None:
    console.run(app)


if __name__ == "__main__":  # torchrun starts modules
    main()
