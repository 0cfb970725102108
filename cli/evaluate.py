"""`stamp-train eval`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stamp_cli.console import hide_loading_bars, only_for, panels, print_json, progress_bar, say
from stamp_cli.make import Json
from stamp_cli.predict import Base
from stamp_schemas import StampError, UsageFault
from stamp_schemas.choices import Upsampling
from stamp_train.launch import is_worker

if TYPE_CHECKING:
    from stamp_train.eval.representation import Learnt, Representation
    from stamp_train.eval.results import Results
    from stamp_train.eval.session import Asked

SHOWN = 20  # damaged cases that are named on stderr; results.json names all
ASK, DRAW, RUN = panels("How the model is asked", "How masks are made and scored", "How it runs")


def eval(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="CKPT SHARDS…",
            help="A checkpoint or a run's folder, and built splits, folders of them or URLs. With --oracle the first may be "
            "left out, or be a recipe.",
        ),
    ],
    mode: Annotated[
        Literal["free", "forced", "both"],
        ASK(help="free: the model answers for itself; forced: the true answer is given up to its <|seg|>."),
    ] = "free",
    prompt: Annotated[
        Literal["record", "fixed"],
        ASK(help="record: each question as the build drew it; fixed: always the first of its templates."),
    ] = "record",
    records: Annotated[
        int | None, ASK(min=1, help="At most so many records of each set, a random sample; all if not given.")
    ] = None,
    max_new_tokens: Annotated[int, ASK(min=1, help="Most tokens of an answer.")] = 512,
    min_tokens: Annotated[
        int | None, ASK(min=1, help="Least merged patches of a picture; the checkpoint's if not given.")
    ] = None,
    max_tokens: Annotated[int | None, ASK(min=1, help="Most, likewise.")] = None,
    oracle: Annotated[
        bool,
        ASK(
            "--oracle",
            help="Score the labels themselves, what a model could reach: every kind of them, that of CKPT first.",
        ),
    ] = False,
    labels: Annotated[
        Literal["soft", "hard", "sampled"] | None, ASK(help="With --oracle: only labels by this rule.")
    ] = None,
    side: Annotated[
        int | None, ASK(min=1, max=28, help="With --oracle: only so many labels along a patch's side.")
    ] = None,
    upsampling: Annotated[Upsampling, DRAW(help="From the patch grid to the picture.")] = "bilinear",
    refine: Annotated[str, DRAW(help="Also score masks that this refiner redraws, such as sam:PATH.")] = "",
    refine_optional: Annotated[
        bool, DRAW("--refine-optional", help="Go on without it where it cannot be had.")
    ] = False,
    refine_preset: Annotated[Literal["stamp", "published"], DRAW(help="Its settings.")] = "stamp",
    convention: Annotated[
        Literal["stamp", "lisa", "rela", "published"],
        DRAW(help="Whose metrics the tables show; results.json has all of them."),
    ] = "stamp",
    against: Annotated[
        Path | None, DRAW(help="Folder of another evaluation, which the page shows beside this one.")
    ] = None,
    tables: Annotated[
        bool, DRAW("--tables", help="Also print the paper's tables, with these results in them.")
    ] = False,
    no_target_pixels: Annotated[int, DRAW(min=0, help="A mask of fewer pixels says that there is no target.")] = 0,
    out: Annotated[Path | None, RUN("--out", "-o", help="Folder; evaluations/CKPT if not given.")] = None,
    processes: Annotated[int, RUN("--processes", "-p", min=1, help="On this machine, one per GPU or core.")] = 1,
    batch_size: Annotated[int, RUN(min=1, help="Cases answered at a time.")] = 16,
    device: Annotated[str, RUN(help="auto, cpu, cuda, cuda:1, …, mps.")] = "auto",
    dtype: Annotated[
        Literal["auto", "bfloat16", "float16", "float32"],
        RUN(help="Of the weights; auto is as stored, on a CPU float32."),
    ] = "auto",
    base: Base = "",
    seed: Annotated[int, RUN(min=0, help="Of the refiner, and of the page's cases.")] = 0,
    allow_damaged: Annotated[int, RUN(min=0, help="Exit 0 with as many damaged cases.")] = 0,
    overwrite: Annotated[bool, RUN("--overwrite", help="Begin anew, whatever evaluation OUT holds.")] = False,
    json: Json = False,
) -> None:
    """Score masks on shard sets; a killed evaluation goes on when called again."""
    only_for(context, "--oracle", oracle, "labels", "side")
    only_for(context, "models, not for --oracle", not oracle, "mode", "prompt", "max_new_tokens", "dtype")
    only_for(context, "--refine", bool(refine), "refine_optional", "refine_preset")
    from stamp_train.eval.page import read_against, write_page
    from stamp_train.eval.session import Asked, Session
    from stamp_train.eval.workers import run_workers

    hide_loading_bars()
    checkpoint, learnt, shards = (None, *_learnt(paths)) if oracle else (Path(paths[0]), None, paths[1:])
    if not shards:
        raise UsageFault("no shards given", "stamp-train eval CKPT SHARDS…")
    if learnt and not (min_tokens or max_tokens):
        min_tokens, max_tokens = learnt.min_tokens, learnt.max_tokens
    asked = Asked(
        checkpoint=checkpoint,
        shards=shards,
        out=out or Path("evaluations", _name(checkpoint, paths[0] if learnt else "")),
        labels=_kinds(learnt, labels, side) if oracle else (),
        mode=mode,
        prompt=prompt,
        records=records,
        upsampling=upsampling,
        refine=refine,
        refine_preset=refine_preset,
        refine_optional=refine_optional,
        no_target_pixels=no_target_pixels,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        min_tokens=min_tokens,
        max_tokens=max_tokens,
        factor=learnt.factor if learnt else None,
        device=device,
        dtype=dtype,
        seed=seed,
        base=base,
    )
    if is_worker():
        return _share(asked)
    if learnt:
        say(f"{paths[0]} learns {learnt.representation.name} labels")
    other = read_against(against) if against else None
    session = Session(asked, overwrite)
    for name in session.without_masks:
        say(f"{name}: no masks to score, left out")
    if not session.finished:
        if processes > 1:
            run_workers(processes, [argument for argument in sys.argv[1:] if argument != "--overwrite"])
        else:
            with progress_bar() as bar:
                session.work(lambda done, total: bar(done, total, "cases"))
    results, lines = session.results()
    shown = write_page(session.folder, results, lines, session.sets, convention, seed, other)
    print_json(results) if json else _print_tables(results, convention, tables)
    say(f"{session.folder}: results.json, cases.jsonl, page.html ({shown} masks)")
    return _judge(results, allow_damaged)


def _share(asked: Asked) -> None:
    """What one of several processes does."""
    from stamp_train.eval.session import Session

    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with progress_bar() as bar:
        Session(asked).work(
            lambda done, total: bar(done, total, f"cases of process 1 of {world}") if rank == 0 else None, rank, world
        )


def _learnt(paths: list[str]) -> tuple[Learnt | None, list[str]]:
    """What the first path says that is learnt, and the shards that follow; all are shards if it says nothing."""
    from stamp_data.shards.stores import is_url
    from stamp_train.eval.representation import learnt_by

    learnt = None if is_url(paths[0]) else learnt_by(Path(paths[0]))
    return learnt, paths[1:] if learnt else paths


def _kinds(learnt: Learnt | None, rule: str | None, side: int | None) -> list[Representation]:
    """The representations asked for, the learnt one first."""
    from stamp_train.eval.representation import representations

    found = representations(rule, side)
    return sorted(found, key=lambda one: learnt is None or one != learnt.representation)


def _name(checkpoint: Path | None, learnt: str) -> str:
    """Of the folder of an evaluation that was given none: `tiny-final` for runs/tiny/final, `labels-stamp-2b` for labels."""
    if checkpoint is None:
        return "-".join(["labels", *([Path(learnt).resolve().name] if learnt else [])])
    return "-".join(checkpoint.resolve().parts[-2:])


def _print_tables(results: Results, convention: str, tables: bool) -> None:
    from stamp_train.eval.tables import WHOLE, drawn, paper_tables, published, score_table, terminal, unlike_published

    console = terminal(WHOLE)
    console.print(drawn(score_table(results, convention, console.width)))
    for one in results.sets:
        for variant, flags in one.flags.items():
            if flags:
                print(f"{one.name}, {variant}: " + ", ".join(f"{count:,} {flag}" for flag, count in flags.items()))
    for remark in results.card.model.remarks if results.card.model else ():
        print(f"{results.card.settings.checkpoint}: {remark}")
    if tables:
        note = f": per cent, own rows by `{convention}`"
        found = [drawn(one, note) for one in paper_tables(results, convention, console.width)]
        if found:
            found[-1].caption = f"Other rows: {published().source}"
        for table in found:
            console.print(table)
        for name, why in unlike_published(results).items():
            say(f"{name}: {why}: not the published set, so not in the paper's tables")


def _judge(results: Results, allowed: int) -> None:
    """Name what was not scored; StampError if it is more than allowed."""
    found = results.damaged
    for one in found[:SHOWN]:
        say(f"damaged: {one.set} {one.id}: {one.fault}")
    if len(found) > allowed:
        raise StampError(
            f"{len(found)} damaged cases are not in these numbers",
            "`stamp-data verify SHARDS` says more; --allow-damaged N accepts them",
        )
