"""`stamp-train predict`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stamp_cli.console import INTERRUPTED, hide_loading_bars, only_for, panels, print_json, progress_bar, say
from stamp_cli.make import Json
from stamp_data.text import printable
from stamp_schemas.choices import Upsampling

if TYPE_CHECKING:
    from stamp_schemas import StampError
    from stamp_train.predict import Segmenter
    from stamp_train.predict.refine import Refiner
    from stamp_train.predict.writing import Prediction

ASKED, ANSWER, MACHINE = panels("What is asked", "How it answers", "The machine")
Checkpoint = Annotated[Path, typer.Argument(metavar="CKPT", help="Folder of a model, or of a training run.")]
Device = Annotated[str, MACHINE(help="auto takes CUDA, then MPS, then the CPU; cuda:1, cpu, …")]
Dtype = Annotated[
    Literal["auto", "bfloat16", "float16", "float32"],
    MACHINE(help="Of the weights; auto is as stored, on a CPU float32."),
]
Base = Annotated[
    str,
    MACHINE(
        "--base",
        metavar="FOLDER",
        help="The model that an adapter was trained on, where it does not know or that has moved.",
    ),
]
Upsampled = Annotated[Upsampling, ANSWER(help="From the patch grid to the picture's size.")]
Refine = Annotated[str, ANSWER(help="Refine masks with SAM: sam:FILE or sam:FOLDER.")]

RefineOptional = Annotated[
    bool, ANSWER("--refine-optional", help="Go on with unrefined masks where what --refine names cannot be had.")
]
MaxNewTokens = Annotated[int, ANSWER(min=0, help="Longest answer, in tokens.")]
Temperature = Annotated[float, ANSWER(min=0, help="0 says what is likeliest; above, answers are drawn.")]
Seed = Annotated[int, ANSWER(min=0, help="Of what is drawn.")]


def predict(
    context: typer.Context,
    checkpoint: Checkpoint,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE…",
            help="Pictures, folders of pictures, or lists of requests: FILE.jsonl with a row "
            '`{"image": …, "text" or "expression": …, "id": …}` for each.',
        ),
    ],
    texts: Annotated[
        list[str] | None, ASKED("--text", "-t", help="Ask this, word for word, about every picture.")
    ] = None,
    expressions: Annotated[
        list[str] | None,
        ASKED(
            "--expression",
            "-e",
            help="Segment this, such as 'left dog': asked with the question that models are trained on.",
        ),
    ] = None,
    image_root: Annotated[
        Path | None,
        ASKED(help="Folder that paths in a .jsonl begin at and cannot leave; if not given, the folder of the .jsonl."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for rows, masks and overlays.")] = Path(
        "predictions"
    ),
    overwrite: Annotated[
        bool, typer.Option(help="Begin anew in a folder of predictions; else requests done before are kept.")
    ] = False,
    force_mask: Annotated[bool, ANSWER("--force-mask", help="A mask also where the answer has no <|seg|>.")] = False,
    upsampling: Upsampled = "bilinear",
    refine: Refine = "",
    refine_optional: RefineOptional = False,
    refine_preset: Annotated[Literal["stamp", "published"], ANSWER(help="Settings of --refine.")] = "stamp",
    max_new_tokens: MaxNewTokens = 1024,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    batch_size: Annotated[
        int, MACHINE("--batch-size", "-b", min=1, help="Requests at a time; halved where memory ends.")
    ] = 16,
    device: Device = "auto",
    dtype: Dtype = "auto",
    base: Base = "",
    json: Json = False,
) -> None:
    """Answer questions about pictures in words and masks.

    Writes `OUT/predictions.jsonl` (a row per request, masks as COCO RLE), `OUT/masks/*.png` at the size of the picture
    (photos are turned upright first, as their EXIF data says) and `OUT/overlays/*.jpg`. A call that was stopped goes on when
    it is given again. What cannot be read is named, the rest is done, and the exit code is 1.
    """
    from stamp_schemas import UsageFault
    from stamp_train.predict.inputs import read_requests
    from stamp_train.predict.refine.refiner import works
    from stamp_train.predict.writing import PredictionFolder, answer_all
    from stamp_train.train.folder import find_checkpoint, fingerprint

    only_for(context, "--refine", bool(refine), "refine_optional", "refine_preset")
    if gone := [path for path in inputs if not path.exists()]:
        raise UsageFault(f"{gone[0]}: no such file")
    asked = list(read_requests(inputs, texts or (), expressions or (), image_root))
    answering = {
        "force_mask": force_mask,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "seed": seed,
    }
    settings = {
        "checkpoint": str(checkpoint.resolve()),
        "weights": fingerprint(find_checkpoint(checkpoint)),
        "dtype": dtype,
        "upsampling": upsampling,
        "refine": [refine, refine_preset] if refine else [],
        **answering,
    }
    refiner = open_refiner(refine, device, seed, refine_optional, refine_preset)
    folder = PredictionFolder(out, settings, overwrite=overwrite, refining=works(refiner))

    def open_segmenter() -> Segmenter:
        from stamp_train.predict import Segmenter

        hide_loading_bars()
        with redirect_stdout(sys.stderr):  # where libraries belong that talk while they are loaded
            return Segmenter.from_pretrained(checkpoint, device, dtype, upsampling, refiner, base)

    outcomes = answer_all(asked, folder, open_segmenter, batch_size=batch_size, **answering)
    try:
        rows, faults = _follow(outcomes, len(asked), out, json)
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        raise typer.Exit(INTERRUPTED) from None
    if json:
        print_json({"out": out, "predictions": rows, "faults": faults})
    masks = sum(len(row.masks) for row in rows)
    told = ((len(rows), "answer"), (masks, "mask"), *([(len(faults), "fault")] if faults else []))
    say(f"{folder.rows}: " + ", ".join(f"{count} {what}{'s' * (count != 1)}" for count, what in told))
    if faults:
        raise typer.Exit(1)


def open_refiner(spec: str, device: str, seed: int, optional: bool, preset: str = "stamp") -> Refiner | None:
    """Only where one is asked for are its libraries loaded."""
    if not spec:
        return None
    from stamp_train.predict.opening import pick_device
    from stamp_train.predict.refine import load_refiner

    hide_loading_bars()
    return load_refiner(spec, pick_device(device), preset, seed, say=say, optional=optional)


def _follow(
    outcomes: Iterator[Prediction | StampError], total: int, out: Path, quiet: bool
) -> tuple[list[Prediction], list[StampError]]:
    """Tell outcomes as they come; a bar is drawn where answers, which show the progress as well, are not printed."""
    from stamp_schemas import StampError

    rows: list[Prediction] = []
    faults: list[StampError] = []
    told: set[str] = set()  # a picture that cannot be read is a fault of each of its requests
    with progress_bar() if quiet else nullcontext(lambda *_: None) as report:
        for outcome in outcomes:
            if isinstance(outcome, StampError):
                faults.append(outcome)
                if str(outcome) not in told:
                    say(f"error: {printable(str(outcome))}")
                told.add(str(outcome))
            else:
                rows.append(outcome)
                _tell(outcome, out, quiet)
            report(len(rows) + len(faults), total, "predicting")
    return rows, faults


def _tell(row: Prediction, out: Path, quiet: bool) -> None:
    """One answer: what was asked, what is said, and where its masks are."""
    if not quiet:
        print(f"{printable(row.image)}: {printable(row.prompt)}")
        for line in printable(row.content.strip(), "\n").splitlines():
            print(f"  {line}")
        for mask in row.masks:
            print(f"  {out / mask.file}  {mask.area:,} of {row.width * row.height:,} pixels")
    if row.forced:
        say(f"{printable(row.image)}: the answer has no <|seg|> of its own; --force-mask drew its mask")
    elif not row.masks:
        say(f"{printable(row.image)}: no <|seg|> in the answer, so no mask; --force-mask draws one")
    if row.finish == "length":
        say(f"{printable(row.image)}: the answer was cut off; --max-new-tokens sets its length")
