"""`stamp-train`: shard sets to models, models to masks. One command is one function of a module beside this one."""

from __future__ import annotations

from collections.abc import Callable

from stamp_cli import console, train_recipes, train_run

TRAIN = "Train"
COMMANDS: dict[Callable[..., None], tuple[str, tuple[str, ...]]] = {
    train_recipes.recipes: (TRAIN, ("stamp-train recipes", "stamp-train recipes stamp-7b-lora")),
    train_run.run: (
        TRAIN,
        (
            "stamp-train run stamp-2b --set data.root=shards --dry-run --device h100",
            "stamp-train run tiny --set data.root=shards --out runs/tiny",
            "stamp-train run tiny --out runs/tiny --resume auto",
        ),
    ),
}
"""Command -> (panel of the help, examples)."""

app = console.new_app("Train, evaluate and use STAMP models on shard sets.")
for command, (panel, examples) in COMMANDS.items():
    app.command(rich_help_panel=panel, epilog="Examples: " + " · ".join(f"`{line}`" for line in examples))(command)


def main() -> None:
    console.run(app)


if __name__ == "__main__":  # torchrun starts modules
    main()
