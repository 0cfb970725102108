"""What a method is to everybody else. Its folder holds all that is its own, and nobody outside asks which method it is.

`Settings` are read from a recipe (`method:`) and from a checkpoint (`stamp` in its config.json), and know what can be said
without torch; `Settings.method()` gives the `Method` itself. Both have defaults for what most methods do not need.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import msgspec
from numpy.typing import NDArray

from stamp_schemas import Record
from stamp_schemas.recipe import Part
from stamp_schemas.record import SEG

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stamp_data.shards.set_index import SetIndex
    from stamp_train.methods.losses import Counts, Losses
    from stamp_train.methods.readout import Readout
    from stamp_train.sequence.chat import ChatEncoder
    from stamp_train.sequence.document import Grid, Ints, Seg, Stretch
    from stamp_train.sequence.inputs import MaskPlace, Outputs, StampInputs, Targets
    from stamp_train.sequence.token_sequence import TokenSequence

Label = NDArray[Any]  # what is learned for one target, whole numbers of a shape that only its method knows
Pieces = list[tuple[str, str]]  # (`text` or `control`, text) of an answer, as it is decoded


class Settings(Part, frozen=True):
    """Settings of a method; errors of a recipe name the key. Fields listed in `training` are of the run, not of the network."""

    tokens: ClassVar[tuple[str, ...]] = (SEG,)  # added to the tokenizer, in this order, from its spare rows
    title: ClassVar[str]  # what a card calls it
    home: ClassVar[str]  # module and class of the method
    written: ClassVar[bool] = False  # masks are text, supervised like any other
    training: ClassVar[tuple[str, ...]] = ()

    @property
    def name(self) -> str:
        """Of the method."""
        return str(type(self).__struct_config__.tag)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What results must be read with."""
        return ()

    def tokens_per_mask(self, patches: int) -> int:
        """Tokens that a mask adds to the sequence of an image of so many merged patches, for packing and costs.

        Where a mask is text in the answer, an estimate, which its settings explain: nothing is cut by it.
        """
        raise NotImplementedError  # every method has its own; a Struct cannot be abstract

    @property
    def looks_ahead(self) -> bool:
        """Whether an image's tokens see all of it and every `<|seg|>` of their dialogue, which so shares no image with others.

        While an answer is generated they do not: see `Drawing.run_alone`.
        """
        return False

    def words(self) -> Iterable[str]:
        """Texts that a tokenizer of one's own should know, where masks are written."""
        return ()

    def method(self) -> Method:
        """The method with these settings; torch is imported only here."""
        made: Method = resolve_name(self.home)(self)
        return made

    def sized(self) -> Self:
        """With what says how large the network is."""
        return self

    def complete(self) -> Self:
        """Settings of a new network: see `sized`; UsageFault where it could not be made."""
        return self.sized()

    def over(self, network: Self) -> Self:
        """The settings of a network that exists, trained as these say."""
        return msgspec.structs.replace(network, **{name: getattr(self, name) for name in self.training})

    @classmethod
    def of_stored(cls, stored: Mapping[str, Any] | None) -> Self:
        """Settings from a checkpoint's; None: from one that says nothing."""
        return msgspec.convert(stored or {}, cls)


class Drawing(Protocol):
    """Replies of a batch over their cache, as a method may use them while it draws."""

    model: Any

    def sequence(self) -> TokenSequence:
        """An empty sequence, to lay out what is read next."""

    def run_over_cache(self, sequence: TokenSequence) -> tuple[StampInputs, Tensor]:
        """A sequence's tokens over the cache, in which they leave nothing: as the model took them, and final states [L, H]."""

    def run_alone(self, sequence: TokenSequence) -> tuple[StampInputs, Tensor]:
        """As `run_over_cache`, of a sequence that holds all it needs: nothing of the cache is seen."""

    def keep(self, sequence: TokenSequence) -> Tensor:
        """A sequence's tokens over the cache, which holds them from then on: final states [L, H]."""

    def read_out(
        self, masks: Sequence[MaskPlace], states: Tensor, feature_rows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What the readout makes of states [R, H], those that are read for masks; see `sequence.inputs.Reading`."""


class Listener(Protocol):
    """Hears the pieces of one answer, and says where in them a mask has been said: ("control", "<|seg|>") in its place."""

    def hear(self, pieces: Pieces) -> Pieces:
        """The pieces to pass on; what may still become a mask is held back."""

    def end(self) -> Pieces:
        """What was held back, when the answer ends."""


class Method(ABC):
    """A way to get masks out of a language model. A dialogue's answer holds one `<|seg|>` for each mask."""

    settings: Settings
    text_labels: str = "answers"  # which tokens are supervised, see `Layout`
    divide_by: str = "global"  # losses are divided by the counts of the global batch, or of each `micro` batch
    cells: tuple[str, int] | None = None  # rule and side of labels that are coverage, see `eval.representation`
    # Inner layers of the tower (Qwen3-VL) reach the tokens that it lays out with a patch's feature.
    deepstack: bool = True
    # Masks are drawn when the cache holds their `<|seg|>`, all together; else at once, as it is said.
    over_cache: bool = True
    # While an answer is generated, the final states of the image's tokens are kept for its masks.
    keeps_image: bool = False

    # From a record to a sequence
    @abstractmethod
    def label(self, record: Record, target: int, grid: Grid, stored: Label | None) -> Label:
        """What is learned for a target. grid: merged patches. stored: coverage of that grid, where the record has it."""

    def write(self, label: Label, expression: str) -> str | None:  # noqa: ARG002 - of no use to most methods
        """The text that stands for a `<|seg|>` of a true answer; None: the token itself."""
        return None

    def stretch(self, grid: Grid, control: Mapping[str, int]) -> Stretch | None:  # noqa: ARG002 - most put none
        """The tokens that stand in a dialogue behind each `<|seg|>`, of an image of so many merged patches; None: none do.

        In training they are made of its label, which holds `numbers`, in generation of what `say` says. control: ids of the
        control tokens.
        """
        return None

    @abstractmethod
    def lay_out(self, sequence: TokenSequence, seg: Seg, label: Label | None) -> None:
        """Put what follows a `<|seg|>` into the sequence, and say which states are read for its mask and what is learned.

        Training calls it after the dialogue's text, with a label; generation for what a pass over the cache reads, without.
        Whatever it puts is seen by the default rule of `sequence.structure`.
        """

    # From states to masks
    @abstractmethod
    def readout(self, hidden_size: int, vision_size: int) -> Readout:
        """The module that reads states of that width, and features of the tower before the merge of that width."""

    def know(self, readout: Readout) -> None:  # noqa: B027 - of no use to most methods
        """Take a readout that has come into the place of the one that `readout` made, as that of an adapter does."""

    @abstractmethod
    def pictures(self, found: Mapping[str, Tensor], masks: Sequence[MaskPlace]) -> list[Tensor]:
        """What the readout found, as one logit picture [h, w] for each mask, foreground above 0."""

    def forced(self, outputs: Outputs, targets: Targets, chat: ChatEncoder) -> list[Tensor]:  # noqa: ARG002 - of no use to most methods
        """The logit picture of each mask of a sequence whose answers are the true ones."""
        return self.pictures(outputs.read, outputs.masks)

    def say(self, batch: Drawing, segs: Sequence[Seg]) -> list[Ints]:
        """The numbers of a method with a `stretch` for each `<|seg|>` of some replies, which was the last token read.

        All tokens of a stretch that are made of numbers must then be in the cache, kept there in their order.
        """
        raise NotImplementedError  # only methods with a stretch have one

    @abstractmethod
    def draw(self, batch: Drawing, segs: Sequence[Seg]) -> list[Tensor]:
        """The logit picture of each `<|seg|>` of some replies, in one pass, several, or none."""

    def force(self, begin: str) -> tuple[str, int]:
        """How an answer begins that is to have the masks of `begin`, and the tokens that must be left for writing them."""
        return begin, 0

    def listener(self) -> Listener | None:
        """Hears each answer; None: a mask is the token `<|seg|>`."""
        return None

    @abstractmethod
    def ideal(self, label: Label) -> Tensor:
        """The logit picture of a model that has learned the label without a fault."""

    # Training
    @abstractmethod
    def counts(self, targets: Targets) -> Counts:
        """What each loss is divided by, from targets alone: it is summed over ranks before any forward pass."""

    @abstractmethod
    def losses(self, outputs: Outputs, targets: Targets) -> Losses:
        """name -> (sum, count), `text` among them; weights are in the sums, names and counts are those of `counts`."""

    def begin_readout(self, readout: Readout, records: Callable[[], Iterable[Record]]) -> None:  # noqa: B027 - of no use to most methods
        """Give a readout whose weights are random others, in place: of a file that the settings name, or fitted to records."""

    def open_sets(self, sets: Sequence[SetIndex]) -> None:  # noqa: B027 - likewise
        """Make ready for labels of these sets, for methods that keep something beside them; StampError if that is not there."""

    def prepare(self, network: nn.Module) -> None:  # noqa: B027 - likewise
        """Make a network ready to be trained, whatever it begins with."""
