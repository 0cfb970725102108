"""Records in plain WebDataset tars, without our index: read through `webdataset`, from the first tar to the last.

Lengths and places are known only once a record is read, so every rank reads every tar (but decodes its own pictures alone) to
form the same global batches, and a resumed run begins a new pass in another order instead of the one it was in.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from itertools import count
from tarfile import TarError
from typing import Any

from blake3 import blake3

from stamp_schemas import StampError, UsageFault
from stamp_schemas.extras import lacking
from stamp_train.methods.contract import Method, Settings
from stamp_train.sequence.examples import ImageExample
from stamp_train.stream.examples import ExampleMaker, Prepare
from stamp_train.stream.lengths import GroupTokens, TokenCosts
from stamp_train.stream.loader import LoaderOptions, StepBatch
from stamp_train.stream.order import Group
from stamp_train.stream.pack import PackedStep, pack_batch
from stamp_train.stream.plan import PlanOptions
from stamp_train.stream.quarantine import BadRow, Quarantine
from stamp_train.stream.records import BadRecord, Parsed, parse
from stamp_train.stream.shuffle import key_of, permutation

_log = logging.getLogger(__name__)
BUFFER = 1024  # records that are shuffled together
PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")


class ForeignLoader:
    """Iterates steps over tars of our records for one rank, pass after pass, without end.

    Args:
        tars: paths, URLs or `pipe:` commands that webdataset opens.
        prepare: the model's processor.
        method: says what is learned of a record.
        plan: seed, batch and dialogues per image.
        options: rank, sizes; threads and ahead are of no use here.
        costs: tokens that no text accounts for.

    Raises:
        StampError: while iterating: a tar that cannot be read, or too many bad records.
    """

    def __init__(
        self,
        tars: Sequence[str],
        prepare: Prepare,
        method: Method,
        plan: PlanOptions | None = None,
        options: LoaderOptions | None = None,
        costs: TokenCosts | None = None,
    ) -> None:
        try:
            self._webdataset = import_module("webdataset")
        except ModuleNotFoundError:
            raise lacking("reading tars without an index needs webdataset", "train") from None
        if not tars:
            raise UsageFault("no tars to read", "name at least one")
        self.tars, self.plan, self.options = list(tars), plan or PlanOptions(), options or LoaderOptions()
        self.costs = costs or TokenCosts()
        self.quarantine = Quarantine(self.options.quarantine, self.options.max_bad_share)
        self._make = ExampleMaker(prepare, method)
        self._settings = method.settings
        self._draws = 0
        _log.warning("%s and %d more: no index, so resuming is approximate", self.tars[0], len(self.tars) - 1)

    @property
    def digest(self) -> str:
        """Names the tars by their names, and the seed: the content is not known."""
        return blake3("\n".join([str(self.plan.seed), *self.tars]).encode()).hexdigest(16)

    def state_dict(self) -> dict[str, str | int]:
        """How many dialogues were drawn, and of what."""
        return {"plan": self.digest, "draws": self._draws}

    def load_state_dict(self, state: Mapping[str, str | int]) -> None:
        """Count on from a state; the order begins anew. StampError if it is of other tars or another seed."""
        if state["plan"] != self.digest:
            raise StampError(f"the saved position is of {state['plan']}, these tars are {self.digest}")
        self._draws = int(state["draws"])
        _log.warning("%s: resumed with a new pass: some dialogues come twice, others not in this pass", self.tars[0])

    def __iter__(self) -> Iterator[StepBatch]:
        groups = self._groups()
        left: tuple[Group, Parsed] | None = None
        while True:
            drawn: list[tuple[Group, Parsed]] = []
            missing = self.plan.batch
            while missing:
                group, parsed = left or next(groups)
                size = len(group.dialogues)
                left = (group.cut(missing, size), parsed) if size > missing else None
                drawn.append((group.cut(0, missing) if left else group, parsed))
                missing -= min(size, missing)
            yield self._step(drawn)

    def _groups(self) -> Iterator[tuple[Group, Parsed]]:
        """The groups of every record, pass after pass; `row` numbers the records."""
        most, begun, serial = self.plan.dialogues_per_image, self._draws, count()
        for epoch in count():
            found = 0
            for parsed in self._records(key_of(self.plan.seed, self.digest, begun, epoch)):
                row = found = next(serial)
                dialogues = len(parsed.record.dialogues)
                order = permutation(dialogues, key_of(self.plan.seed, epoch, parsed.record.key)).tolist()
                parts = -(-dialogues // most)
                for part in range(parts):
                    chosen = order[dialogues * part // parts : dialogues * (part + 1) // parts]
                    yield Group(0, epoch, 0, 0, row, tuple(chosen)), parsed
            if not found and not epoch:
                raise StampError(f"{self.tars[0]} and {len(self.tars) - 1} more: no record in them")

    def _records(self, key: int) -> Iterator[Parsed]:
        """One pass over the tars, in an order of its own, with neighbours mixed."""
        tars = [self.tars[place] for place in permutation(len(self.tars), key)]
        samples = self._webdataset.WebDataset(
            tars, shardshuffle=False, nodesplitter=_every_rank, empty_check=False, handler=_raise
        ).shuffle(BUFFER, rng=random.Random(key))
        try:
            for sample in samples:
                parsed = self._parse(sample)
                if parsed:
                    yield parsed
        except (OSError, TarError, EOFError, ValueError) as fault:
            raise StampError(f"{self.tars[0]} and {len(self.tars) - 1} more: cannot be read: {fault}") from None

    def _parse(self, sample: dict[str, Any]) -> Parsed | None:
        """A sample as a record; None, and a row in the quarantine, if it is none. All ranks see the same."""
        image = next((sample[suffix] for suffix in PICTURES if suffix in sample), b"")
        try:
            if "json" not in sample:
                raise BadRecord("record-broken", "no JSON")
            parsed = parse(memoryview(image), sample["json"], sample.get("labels.npy", b""))
        except BadRecord as fault:
            self._note_bad(sample["__url__"], sample["__key__"], fault)
            return None
        self.quarantine.note((), 1)
        return parsed

    def _packs(self, packed: PackedStep, records: Mapping[int, Parsed]) -> tuple[tuple[ImageExample, ...], ...]:
        """This rank's packs. A record whose picture cannot be used is left out: no other one could be found by a rule."""
        packs = []
        for pack in packed.packs[self.options.rank]:
            examples = []
            for group in pack.groups:
                try:
                    examples.append(self._make(records[group.row], group.dialogues))
                except BadRecord as fault:
                    self._note_bad("", records[group.row].record.key, fault)
            packs.append(tuple(examples))
        return tuple(packs)

    def _note_bad(self, tar: str, key: str, fault: BadRecord) -> None:
        row = BadRow("foreign", self.digest, tar, 0, key, fault.reason, fault.detail, "")
        self.quarantine.note([row], 1)

    def _step(self, drawn: list[tuple[Group, Parsed]]) -> StepBatch:
        records = {group.row: parsed for group, parsed in drawn}
        groups = [group for group, _ in drawn]
        packed = pack_batch(
            groups,
            [_measure(parsed, group, self.costs, self._settings) for group, parsed in drawn],
            self.options.world,
            self.options.token_budget,
        )
        names = [f"{parsed.record.key}/{place}\n" for group, parsed in drawn for place in group.dialogues]
        step = self._draws // self.plan.batch
        self._draws += len(names)
        return StepBatch(
            step=step,
            draws=self._draws,
            digest=blake3("".join(sorted(names)).encode()).hexdigest(16),
            dialogues=len(names),
            tokens=sum(pack.tokens for rank in packed.packs for pack in rank),
            padding=packed.padding,
            epoch={"foreign": groups[0].epoch},
            packs=self._packs(packed, records),
        )


def _every_rank(tars: Iterator[Any]) -> Iterator[Any]:
    """webdataset would share the tars out to the ranks, or refuse; here every rank reads them all."""
    return tars


def _raise(fault: Exception) -> bool:
    """webdataset's own default, said aloud: a tar that cannot be read is no reason to go on with the next."""
    raise fault


def _measure(parsed: Parsed, group: Group, costs: TokenCosts, method: Settings) -> GroupTokens:
    """Tokens of a group, estimated from its characters."""
    grid, dialogues = parsed.record.grid, [parsed.record.dialogues[place] for place in group.dialogues]
    masks = [len(one.targets) for one in dialogues]
    characters = [sum(len(part.text) for message in one.messages for part in message.content) for one in dialogues]
    texts = [costs.text(count, mask) for count, mask in zip(characters, masks, strict=True)]
    picture = grid.tokens if grid else 0
    return costs.group(picture, texts, [len(one.messages) for one in dialogues], masks, method.tokens_per_mask(picture))
