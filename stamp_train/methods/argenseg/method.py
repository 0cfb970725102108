"""Masks in codes: behind each `<|seg|>` the language model writes the codes of a picture, each scale of them in one pass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stamp_data.shards.set_index import SetIndex
from stamp_schemas import Record
from stamp_train.methods.argenseg.beside import CodeStore
from stamp_train.methods.argenseg.codec import Codec
from stamp_train.methods.argenseg.files import VAR, empty_codec, fill, read_codec
from stamp_train.methods.argenseg.head import CodeHead, code_losses
from stamp_train.methods.argenseg.quantiser import Scales
from stamp_train.methods.argenseg.residual import ResidualCodec
from stamp_train.methods.argenseg.settings import SEG_END, ArgensegSettings
from stamp_train.methods.contract import Drawing, Label, Method
from stamp_train.methods.losses import Counts, Losses, text_count
from stamp_train.methods.readout import Readout
from stamp_train.sequence.document import Grid, Ints, Put, Seg, Stretch
from stamp_train.sequence.inputs import MaskPlace, Outputs, Targets
from stamp_train.sequence.token_sequence import TokenSequence

_SURE = 1e-6  # probability of background where a picture is all white: its logit has to be finite


class Argenseg(Method):
    """See the module's text.

    `<|seg|>` predicts the first code; every other one is predicted by a token in its own place, whose embedding says what the
    codes of the scales before make of the mask. `<|seg_end|>` follows of itself, and text goes on, which sees all of them.
    """

    settings: ArgensegSettings
    over_cache = False  # text goes on only when the codes are there

    def __init__(self, settings: ArgensegSettings) -> None:
        self.settings = settings.sized()
        self.scales = Scales(settings.sides)
        self.codes = CodeStore()
        self.codec: Codec | None = None  # the network's own

    # From a record to a sequence
    def label(self, record: Record, target: int, grid: Grid, stored: Label | None) -> Label:  # noqa: ARG002 - of another grid
        """int16 [N]: made here by a codec that takes no time, else as they lie beside the set."""
        if self.settings.codec == VAR:
            return self.codes.find(record, target)
        return self._here.encode([record.targets[target].rle])[0].numpy().astype(np.int16)

    @cached_property
    def _here(self) -> Codec:
        """The codec for the threads that read records, which leave devices and shards of a network alone."""
        return copy.deepcopy(self._codec).to("cpu")

    @property
    def _codec(self) -> Codec:
        assert self.codec is not None  # of a network, whose readout has one
        return self.codec

    def open_sets(self, sets: Sequence[SetIndex]) -> None:
        """Codes beside them, where the codec is no matter of milliseconds."""
        if self.settings.codec == VAR:
            self.codes.open(sets, (self.settings.shape or {}).get("digest", ""), self.scales.cells)

    def stretch(self, grid: Grid, control: Mapping[str, int]) -> Stretch:
        """N - 1 tokens that are given what is known, and the end."""
        inputs = self.scales.cells - 1
        level = np.repeat(np.arange(len(self.scales)), self.scales.sizes)[1:]
        steps = 1 + np.arange(inputs + 1)
        positions = self._in_plane(grid) if self.settings.positions == "plane" else np.tile(steps, (3, 1))
        order = steps.copy()
        if self.settings.attention == "scales":
            order[:-1] = np.array(self.scales.ends)[level] - 1
        end = control[SEG_END]
        return Stretch((end,) * (inputs + 1), positions, int(positions.max()), order, inputs)

    def _in_plane(self, grid: Grid) -> Ints:
        """Time by scale, rows and columns of a cell's centre in the image's grid; the end lies behind all of them."""
        found = []
        for level, side in enumerate(self.scales.sides[1:], start=1):
            middle = 2 * np.arange(side) + 1
            rows, columns = (middle * length // (2 * side) for length in grid)
            found.append(np.stack([np.full(side * side, level), 1 + np.repeat(rows, side), 1 + np.tile(columns, side)]))
        places = np.concatenate(found, axis=1)
        return np.concatenate([places, np.full((3, 1), places.max() + 1)], axis=1)

    def lay_out(self, sequence: TokenSequence, seg: Seg, label: Label | None) -> None:
        """No token that is not in the dialogue; every code is read from the row before its own."""
        if label is not None:
            sequence.read(seg, seg.row + np.arange(self.scales.cells))
            sequence.learn(torch.from_numpy(np.asarray(label, np.int64))[:, None])

    # From states to masks
    def readout(self, hidden_size: int, vision_size: int) -> Readout:  # noqa: ARG002 - looks at no patch
        """A head for codes, with the codec."""
        self.codec = empty_codec(self.settings.shape or {})
        return CodeHead(hidden_size, self.codec, joint=self.settings.softmax == "joint")

    def know(self, readout: Readout) -> None:
        """Its codec is the network's own."""
        assert isinstance(readout, CodeHead)
        self.codec = readout.codec
        vars(self).pop("_here", None)

    def pictures(self, found: Mapping[str, Tensor], masks: Sequence[MaskPlace]) -> list[Tensor]:
        """Of the likeliest codes, each as it is predicted behind the true ones of the scales before."""
        return self._drawn(found["codes"].argmax(-1).view(len(masks), self.scales.cells))

    def say(self, batch: Drawing, segs: Sequence[Seg]) -> list[Ints]:
        """The codes of all masks at once, a pass to a scale; the first is in the states of the `<|seg|>`."""
        codes = np.zeros((len(segs), self.scales.cells), np.int64)
        states = torch.stack([seg.state for seg in segs if seg.state is not None])
        for scale in range(len(self.scales)):
            part = self.scales.part(scale)
            if scale:
                sequence = batch.sequence()
                for seg, own in zip(segs, codes, strict=True):
                    stretch = self.stretch(seg.document.grid, sequence.chat.control)
                    ids, first = stretch.ids[part.start - 1 : part.stop - 1], seg.at + part.start
                    puts = [*seg.puts, Put(seg.at, stretch, own)]
                    sequence.put(seg.document.text(ids, seg.branch, first, puts))
                states = batch.keep(sequence)
            found = batch.read_out([MaskPlace(seg, part.stop - part.start) for seg in segs], states)["codes"]
            codes[:, part] = found.argmax(-1).view(len(segs), -1).cpu().numpy()
        return list(codes)

    def draw(self, batch: Drawing, segs: Sequence[Seg]) -> list[Tensor]:  # noqa: ARG002 - all has been said
        """Of the codes behind each `<|seg|>`: no pass at all."""
        return self._drawn(torch.from_numpy(np.stack([seg.numbers for seg in segs if seg.numbers is not None])))

    def ideal(self, label: Label) -> Tensor:
        """What the codec makes of the codes."""
        return self._drawn(torch.from_numpy(np.asarray(label, np.int64))[None])[0]

    def _drawn(self, codes: Tensor) -> list[Tensor]:
        """Logit pictures [height, width] on the CPU, of the whole image squeezed to a square."""
        if not len(codes):
            return []
        return list(torch.logit(self._codec.decode(codes.to(self._codec.device)), eps=_SURE).float().cpu())

    # Training
    def counts(self, targets: Targets) -> Counts:
        """Weight of the supervised tokens, and codes."""
        return {"text": text_count(targets), "codes": float(len(targets.labels))}

    def losses(self, outputs: Outputs, targets: Targets) -> Losses:
        """Text, and codes."""
        return code_losses(outputs, targets)

    def begin_readout(self, readout: Readout, records: Callable[[], Iterable[Record]]) -> None:
        """With the codec of the file, or one that is fitted to the masks of the records."""
        assert isinstance(readout, CodeHead)
        if self.settings.file:
            fill(readout.codec, read_codec(Path(self.settings.file).expanduser())[1])
        elif isinstance(readout.codec, ResidualCodec):
            readout.codec.begin(records())

    def prepare(self, network: nn.Module) -> None:
        """Know the network's codec."""
        for module in network.modules():
            if isinstance(module, CodeHead):  # the last one: peft keeps what it has put another in the place of
                self.know(module)
