"""An evaluation from beginning to end: asked for, claimed, done by one process or several, gathered."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stamp_data.shards.stores import Location
from stamp_schemas import UsageFault
from stamp_train.backbones.base import fetch
from stamp_train.backbones.weights import digest
from stamp_train.eval.card import Card, Opened, Refined, Settings, checkpoint_digest, set_cards, software
from stamp_train.eval.cases import Prompting, open_sets
from stamp_train.eval.evaluate import Examination, Report, Respondent, gather, make_batches
from stamp_train.eval.folder import MODEL, REFINER, agree, claim, read_part, writing
from stamp_train.eval.journal import Line, done_batches
from stamp_train.eval.representation import Representation
from stamp_train.eval.respondents import LabelRespondent, open_model
from stamp_train.eval.results import Results, make_results, write_results
from stamp_train.eval.scoring import FORCED, FREE, MASK_RULE, Scorer
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.methods.upsample import METHODS, PUBLISHED
from stamp_train.predict.opening import pick_device
from stamp_train.predict.refine import load_refiner
from stamp_train.predict.refine.refiner import NONE, works
from stamp_train.train.locate import find_checkpoint

LABELS = "labels"  # stands where a checkpoint would
MODES = {"free": [FREE], "forced": [FORCED], "both": [FREE, FORCED]}
_DECODING = "greedy; a repetition penalty if the checkpoint's generation config has one"
_ENLARGED_FIRST = "probabilities are enlarged, then cut off at 0.5"
_CUT_OFF_FIRST = "logits are cut off at 0, then enlarged to the nearest"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an evaluation is asked for; see `Settings` for fields that are not told here.

    Attributes:
        checkpoint: folder of a checkpoint or of a run; None to score labels themselves.
        shards: built splits, or folders of them; a URL is as good.
        out: folder of the evaluation.
        mode: one of `MODES`.
        labels: representations that are scored without a checkpoint.
        refine: specification of a refiner (`stamp_train.predict.refine.load_refiner`), "" for none.
        refine_optional: where it cannot be had, masks are scored unrefined.
        device: as torch names them, or `auto`.
        base: folder or hub name of the model that an adapter goes onto, where that has to be told.
    """

    checkpoint: Path | None
    shards: Sequence[Location]
    out: Path
    mode: str = "free"
    labels: Sequence[Representation] = ()
    prompt: Prompting = "record"
    upsampling: str = "bilinear"
    refine: str = ""
    refine_preset: str = "stamp"
    refine_optional: bool = False
    no_target_pixels: int = 0
    max_new_tokens: int = 512
    batch_size: int = 16
    min_tokens: int | None = None
    max_tokens: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0
    base: str = ""


class Session:
    """An evaluation in its folder.

    Args:
        asked: what for.
        overwrite: begin anew, whatever evaluation the folder holds.

    Attributes:
        sets: that are scored, open.
        without_masks: names of sets that have nothing to score.

    Raises:
        UsageFault: the folder holds an evaluation with other settings, or something else; or an unknown choice.
        StampError: no checkpoint, no shard sets, or none with masks.
    """

    def __init__(self, asked: Asked, overwrite: bool = False) -> None:
        if asked.upsampling not in METHODS:
            raise UsageFault(f"no upsampling {asked.upsampling!r}", f"choose one of {', '.join(METHODS)}")
        self.asked, self.folder = asked, asked.out
        self.device = pick_device(asked.device)
        self.sets, self.without_masks = open_sets(asked.shards, asked.prompt)
        self.batches = make_batches(self.sets, asked.batch_size)
        self.checkpoint = None if asked.checkpoint is None else find_checkpoint(asked.checkpoint)
        self.settings = self._settings()
        claim(self.folder, self.settings, overwrite)

    @property
    def finished(self) -> bool:
        """Whether all cases are done, refined if that was asked for; masks that went without may be so no longer."""
        done = {batch.number for batch in self.batches} <= done_batches(self.folder)
        return done and not (self.asked.refine and self._went_unrefined())

    def work(self, report: Report, rank: int = 0, world: int = 1) -> None:
        """Do a process's share of what is left.

        Args:
            report: told (cases done, cases) of this process.
            rank, world: which of how many processes.

        Raises:
            StampError: the checkpoint is at fault, or another process does the same share.
            UsageFault: what was done before, was done by a model that was opened otherwise.
        """
        asked, place = self.asked, self._place()
        refiner = None
        if asked.refine:
            optional = asked.refine_optional
            refiner = load_refiner(asked.refine, place, asked.refine_preset, asked.seed, optional=optional)
            agree(self.folder, REFINER, Refined(refiner.name))
        respondent: Respondent
        if self.checkpoint is None:
            least, most = self._bounds()
            respondent = LabelRespondent(least, most)
        else:
            options = GenerationOptions(asked.max_new_tokens, batch_size=asked.batch_size)
            respondent = open_model(
                self.checkpoint, place, asked.dtype, options, asked.min_tokens, asked.max_tokens, asked.base
            )
            agree(self.folder, MODEL, respondent.facts(refiner))
        scorer = Scorer(asked.upsampling, asked.no_target_pixels, refiner if works(refiner) else None)
        examination = Examination(respondent, scorer, self.settings.modes)
        examination.run(self.batches, self.folder, rank, world, report)

    def results(self) -> tuple[Results, list[Line]]:
        """Results of all cases, written to the folder too.

        Raises:
            StampError: some are not done.
        """
        lines = gather(self.batches, self.folder)
        results = make_results(self._card(), lines)
        with writing(self.folder):
            write_results(self.folder, results, lines)
        return results, lines

    def _settings(self) -> Settings:
        asked = self.asked
        least, most = (asked.min_tokens, asked.max_tokens) if asked.checkpoint else self._bounds()
        return Settings(
            checkpoint=LABELS if asked.checkpoint is None else str(asked.checkpoint),
            checkpoint_digest=LABELS if self.checkpoint is None else checkpoint_digest(self.checkpoint),
            sets=set_cards(self.sets),
            prompt=asked.prompt,
            modes=[one.name for one in asked.labels] if asked.checkpoint is None else MODES[asked.mode],
            max_new_tokens=asked.max_new_tokens,
            batch_size=asked.batch_size,
            upsampling=asked.upsampling,
            refiner=f"{asked.refine}, {asked.refine_preset}" if asked.refine else "",
            no_target_pixels=asked.no_target_pixels,
            min_tokens=least,
            max_tokens=most,
            device=self.device.type,
            dtype=asked.dtype,
            seed=asked.seed,
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

    def _went_unrefined(self) -> bool:
        if not (self.folder / REFINER).is_file():
            return True
        return read_part(self.folder, REFINER, Refined).refiner == NONE

    def _place(self) -> str:
        """The device of this process."""
        local = os.environ.get("LOCAL_RANK")
        return (
            f"cuda:{local}" if local and self.device.type == "cuda" and self.device.index is None else str(self.device)
        )
