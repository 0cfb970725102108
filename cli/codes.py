"""`stamp-train codes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stamp_cli.console import print_json, progress_bar, say
from stamp_cli.make import Json


def codes(
    codec: Annotated[
        str,
        typer.Argument(
            help="A codec's file: VAR's vae_ch160v4096z32.pth, or safetensors; or `residual`, to fit one to the masks of SETS.",
            show_default=False,
        ),
    ],
    sets: Annotated[
        list[str], typer.Argument(metavar="SETS…", help="Built splits, or folders of them.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where a fitted codec goes, FILE.safetensors.", show_default=False),
    ] = None,
    scales: Annotated[str, typer.Option(help="Of a fitted codec: sides of its squares of codes.")] = "1,2,4,8,16",
    vocabulary: Annotated[int, typer.Option(min=2, max=32768, help="Of a fitted codec: vectors to a scale.")] = 512,
    tried: Annotated[
        int | None,
        typer.Option(
            min=0, help="Masks that the codec is tried on; 200, or 20 for a network, if not given.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Turn the masks of sets into codes, for methods that learn those, and say how good a mask in codes can be.

    Codes are written beside each set; what is there and whole is kept. A fitted codec is quick enough to encode masks while
    they are read: it is written to --out, and nothing beside the sets.
    """
    from stamp_train.methods import codes_maker

    sides = _sides(scales)
    with progress_bar() as report:
        made = codes_maker()(codec, sets, out, scales=sides, vocabulary=vocabulary, tried=tried, report=report)
    if json:
        print_json(made)
    else:
        _print(made)


def _sides(text: str) -> tuple[int, ...]:
    from stamp_schemas import UsageFault

    try:
        sides = tuple(int(part) for part in text.split(","))
    except ValueError:
        sides = ()
    if len(sides) < 2 or list(sides) != sorted({*sides}) or not 1 == sides[0] < sides[-1] <= 64:
        raise UsageFault(f"--scales {text}: no sides that grow from 1", "1,2,4,8,16, say; the last is 64 at most")
    return sides


def _print(made: Any) -> None:
    for one in made.sets:
        say(f"{one.folder}: {one.made:,} masks encoded, {one.kept:,} were there")
    print(f"codec       {made.codec}, {made.kind}, {made.digest[:12]}")
    print(f"codes       {made.tokens} a mask, {made.vocabulary:,} kinds")
    if made.tried:
        print(f"ceiling     cIoU {made.ciou:.3f}, gIoU {made.giou:.3f} on {made.tried} masks")
