"""`stamp-train export`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from stamp_cli.console import hide_loading_bars, print_json
from stamp_cli.make import Json
from stamp_cli.predict import Base, Checkpoint


def export(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the model.")],
    results: Annotated[
        list[Path] | None,
        typer.Option("--results", help="results.json of `stamp-train eval` on this checkpoint, for the model card."),
    ] = None,
    base: Base = "",
    text_only: Annotated[
        bool,
        typer.Option(
            "--text-only", help="Leave the mask side out: the plain Qwen2-VL, for programs that know no other."
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is in OUT.")] = False,
    json: Json = False,
) -> None:
    """Write a model to hand on: adapters merged, weights, tokenizer, image processor and a model card (README.md)."""

    from stamp_train.backbones.saving import OLDEST
    from stamp_train.publish.export import export as export_model

    hide_loading_bars()
    with redirect_stdout(sys.stderr):  # where libraries belong that talk while they are loaded
        source = export_model(checkpoint, out, results or (), base=base, text_only=text_only, overwrite=overwrite)
    use = (
        f"stamp-train predict {quote(str(out))} PICTURE --expression 'left dog'; "
        if not text_only
        else "its words alone; "
    )
    told = f"{out}: the model of {source}; {use}transformers {OLDEST} and later opens it"
    print_json({"checkpoint": source, "out": out}) if json else print(told)
