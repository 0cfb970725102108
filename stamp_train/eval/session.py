"""An evaluation from beginning to end: asked for, claimed, done by one process or several, gathered."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stamp_data.shards.stores import Location
from stamp_train.backbones.base import fetch
from stamp_train.backbones.folder import digest
from stamp_train.eval.card import Card, Choices, Opened, Settings, checkpoint_digest, set_card, software
from stamp_train.eval.cases import open_sets
from stamp_train.eval.evaluator import Evaluator, Report, gather, make_batches
from stamp_train.eval.journal import MODEL, agree, claim, done_batches, read_part
from stamp_train.eval.representation import Representation
from stamp_train.eval.results import Results, make_results, write_results
from stamp_train.eval.runners import LabelRunner, ModelRunner, Runner
from stamp_train.eval.scoring import FORCED, FREE, MASK_RULE, Line, Scorer
from stamp_train.methods.upsample import PUBLISHED, check_method
from stamp_train.predict.opening import pick_device
from stamp_train.predict.refine import load_refiner
from stamp_train.predict.refine.refiner import NONE, works
from stamp_train.train.folder import find_checkpoint

LABELS = "labels"  # stands where a checkpoint would
MODES = {"free": [FREE], "forced": [FORCED], "both": [FREE, FORCED]}
_DECODING = "greedy; a repetition penalty if the checkpoint's generation config has one"
_ENLARGED_FIRST = "probabilities are enlarged, then cut off at 0.5"
_CUT_OFF_FIRST = "logits are cut off at 0, then enlarged to the nearest"


class Asked(Choices, frozen=True, kw_only=True):
    """What an evaluation is asked for.

    checkpoint: folder of a checkpoint or of a run; None to score labels themselves, of the kinds in `labels`. shards: built
    splits, or folders of them; a URL is as good. out: folder of the evaluation. mode: one of `MODES`. refine: specification
    of a refiner (`stamp_train.predict.refine.load_refiner`), "" for none; where an optional one cannot be had, masks are
    scored unrefined. device: as torch names them, or `auto`. base: folder or hub name of the model that an adapter goes onto,
    where that has to be told.
    """

    checkpoint: Path | None
    shards: Sequence[Location]
    out: Path
    mode: str = "free"
    labels: Sequence[Representation] = ()
    refine: str = ""
    refine_preset: str = "stamp"
    refine_optional: bool = False
    device: str = "auto"
    base: str = ""


class Session:
    """An evaluation in its folder; `overwrite` begins anew, whatever evaluation that holds.

    sets: that are scored, open; without_masks: names of those that have nothing to score. UsageFault if the folder holds an
    evaluation with other settings, or something else, or for an unknown choice; StampError for no checkpoint, no shard sets,
    or none with masks.
    """

    def __init__(self, asked: Asked, overwrite: bool = False) -> None:
        check_method(asked.upsampling)
        self.asked, self.folder = asked, asked.out
        self.device = pick_device(asked.device)
        self.sets, self.without_masks = open_sets(asked.shards, asked.prompt, asked.records)
        self.batches = make_batches(self.sets, asked.batch_size)
        self.checkpoint = None if asked.checkpoint is None else find_checkpoint(asked.checkpoint)
        self.settings = self._settings()
        claim(self.folder, self.settings, overwrite)

    @property
    def finished(self) -> bool:
        """Whether all cases are done, refined if that was asked for; masks that went without may be so no longer."""
        done = {batch.number for batch in self.batches} <= done_batches(self.folder)
        return done and not (self.asked.refine and read_part(self.folder, MODEL, Opened).refiner == NONE)

    def work(self, report: Report, rank: int = 0, world: int = 1) -> None:
        """Do process `rank`'s share of what is left; report is told (cases done, cases) of this process.

        StampError if the checkpoint is at fault, or another process does the same share; UsageFault if what was done before was
        done by a model that was opened otherwise.
        """
        asked, place = self.asked, self._place()
        refiner = None
        if asked.refine:
            optional = asked.refine_optional
            refiner = load_refiner(asked.refine, place, asked.refine_preset, asked.seed, optional=optional)
        runner: Runner
        if self.checkpoint is None:
            runner = LabelRunner(*self._bounds(), asked.factor)
        else:
            runner = ModelRunner.open(self.checkpoint, place, asked, asked.base)
        agree(self.folder, MODEL, runner.facts(refiner.name if refiner else ""))
        scorer = Scorer(asked.upsampling, asked.no_target_pixels, refiner if works(refiner) else None)
        Evaluator(runner, scorer, self.settings.modes).run(self.batches, self.folder, rank, world, report)

    def results(self) -> tuple[Results, list[Line]]:
        """Results of all cases, written to the folder too. StampError if some are not done."""
        lines = gather(self.batches, self.folder)
        results = make_results(self._card(), lines)
        write_results(self.folder, results, lines)
        return results, lines

    def _settings(self) -> Settings:
        asked = self.asked
        least, most = (asked.min_tokens, asked.max_tokens) if asked.checkpoint else self._bounds()
        chosen = {name: getattr(asked, name) for name in Choices.__struct_fields__}
        return Settings(
            **chosen | {"min_tokens": least, "max_tokens": most},
            checkpoint=LABELS if asked.checkpoint is None else str(asked.checkpoint),
            checkpoint_digest=LABELS if self.checkpoint is None else checkpoint_digest(self.checkpoint),
            sets=list(map(set_card, self.sets)),
            modes=[one.name for one in asked.labels] if asked.checkpoint is None else MODES[asked.mode],
            refiner=f"{asked.refine}, {asked.refine_preset}" if asked.refine else "",
            device=self.device.type,
            base=digest(fetch(asked.base)) if asked.base else "",
            versions=software(),
        )

    def _card(self) -> Card:
        pixels = self.asked.no_target_pixels
        return Card(
            decoding=_DECODING,
            threshold=_CUT_OFF_FIRST if self.asked.upsampling == PUBLISHED else _ENLARGED_FIRST,
            masks=MASK_RULE,
            no_target=f"no <|seg|> in the answer, or a mask of {f'fewer than {pixels}' if pixels > 1 else 'no'} pixels",
            settings=self.settings,
            model=None if self.checkpoint is None else read_part(self.folder, MODEL, Opened),
        )

    def _bounds(self) -> tuple[int, int]:
        """Of merged patches where there is no checkpoint that has some: those that the first set was built with."""
        built = self.sets[0].manifest.settings
        return self.asked.min_tokens or built.min_tokens, self.asked.max_tokens or built.max_tokens

    def _place(self) -> str:
        """The device of this process."""
        local = os.environ.get("LOCAL_RANK")
        own = local and self.device.type == "cuda" and self.device.index is None
        return f"cuda:{local}" if own else str(self.device)
