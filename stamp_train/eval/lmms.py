"""STAMP checkpoints as a model of lmms-eval, for questions that are answered in words (docs/vqa.md).

Loaded by lmms-eval itself, through the entry point `lmms_eval.models` of this distribution; nothing else here needs it.

    lmms-eval --model stamp --model_args pretrained=runs/tiny --tasks mmstar --batch_size 16
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lmms_eval.api.model import lmms
from lmms_eval.api.registry import register_model
from lmms_eval.models.registry_v2 import ModelManifest
from PIL import Image

if TYPE_CHECKING:
    from lmms_eval.api.instance import Instance

    from stamp_train.predict import Request

logger = logging.getLogger(__name__)
_MOST_TOKENS = 1024  # of an answer, where the task has no bound


def manifest() -> ModelManifest:
    """What lmms-eval asks its entry points for."""
    return ModelManifest("stamp", simple_class_path=f"{__name__}.StampLmms")


@register_model("stamp")
class StampLmms(lmms):  # type: ignore[misc]  # lmms-eval has no types
    """A checkpoint that answers in words; masks that it draws beside them are dropped.

    A question with several pictures is asked about one sheet of all of them, side by side, because a dialogue of the model
    is about one picture. pretrained: folder of a checkpoint or of a run. batch_size: most questions at a time. device, dtype:
    see `stamp_train.predict.Segmenter.from_pretrained`; options that lmms-eval passes to every model are of no use here.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str,
        batch_size: int | str = 16,
        device: str | None = None,
        dtype: str = "auto",
        **options: Any,  # noqa: ARG002 - whatever else lmms-eval hands to every model
    ) -> None:
        super().__init__()
        from accelerate import PartialState

        from stamp_train.predict import Segmenter

        state = PartialState()
        self._rank, self._world_size = state.process_index, state.num_processes
        place = str(state.device) if state.num_processes > 1 else device or "auto"
        self.segmenter = Segmenter.from_pretrained(pretrained, place, dtype)
        self.batch_size = int(batch_size)

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """An answer to each request; arguments: question, options, pictures of a document, its id, task, split."""
        found = [""] * len(requests)
        alike: dict[str, list[int]] = {}  # a batch has one set of options
        for number, request in enumerate(requests):
            alike.setdefault(repr(request.args[1]), []).append(number)
        for numbers in alike.values():
            options = requests[numbers[0]].args[1]
            questions = (_question(requests[number].args[0], self._pictures(requests[number])) for number in numbers)
            for number, text in zip(numbers, self._answers(questions, options), strict=True):
                found[number] = text
                self.cache_hook.add_partial("generate_until", requests[number].args[:2], text)
        return found

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[list[str]]:
        """All rounds of each request; the task words each question from the answers before, and says when it is over."""
        return [list(self._rounds(request)) for request in requests]

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Not offered: the tasks of the paper are generated."""
        raise NotImplementedError("the stamp model answers in words: use tasks of type generate_until")

    def _rounds(self, request: Instance) -> Iterator[str]:
        question, options, _, word, document_id, task, split = request.args
        document, pictures = self.task_dict[task][split][document_id], self._pictures(request)
        said: list[str] = []
        told: Any = None
        while True:
            (text,) = self._answers([_question(question, pictures)], options)
            said.append(text)
            pictures, question, over, kept, told = word(
                document, previous_output=said, round_idx=len(said), previous_round_info=told
            )
            if over:
                yield from kept
                return

    def _pictures(self, request: Instance) -> Any:
        *_, document_id, task, split = request.args
        return request.args[2](self.task_dict[task][split][document_id])

    def _answers(self, questions: Iterable[Request], options: dict[str, Any]) -> Iterator[str]:
        """Answers by the options of a task, `until` among them: where an answer is cut off."""
        until = options.get("until", ())
        ends = [until] if isinstance(until, str) else [end for end in until if end]
        temperature = options.get("temperature") or 0.0
        found = self.segmenter.segment_all(
            questions,
            max_new_tokens=int(options.get("max_new_tokens", _MOST_TOKENS)),
            temperature=float(temperature) if options.get("do_sample", True) else 0.0,
            top_p=float(options.get("top_p") or 1.0),
            batch_size=self.batch_size,
        )
        for answer in found:
            cuts = [answer.text.index(end) for end in ends if end in answer.text]
            yield answer.text[: min(cuts, default=None)].strip()


def _question(text: str, pictures: Any) -> Request:
    from stamp_train.predict import Request

    return Request(one_picture(pictures), text.replace("<image>", "").strip())


def one_picture(pictures: Any) -> Image.Image | None:
    """The picture of a question: none, one, or all of them side by side at the height of the tallest.

    pictures: as a task gives them: None, a picture, or a list of pictures, which may lie in a list. TypeError if there is
    something else among them, such as a film.
    """
    flat = list(_flat(pictures))
    for one in flat:
        if not isinstance(one, Image.Image):
            raise TypeError(f"the stamp model looks at pictures, not at {type(one).__name__}")
    if len(flat) < 2:
        return flat[0].convert("RGB") if flat else None
    logger.warning("a question with %d pictures is asked about a sheet of all of them", len(flat))
    sheet = Image.new("RGB", (sum(one.width for one in flat), max(one.height for one in flat)), "white")
    left = 0
    for one in flat:
        sheet.paste(one.convert("RGB"), (left, 0))
        left += one.width
    return sheet


def _flat(pictures: Any) -> Iterator[Any]:
    if isinstance(pictures, list | tuple):
        for one in pictures:
            yield from _flat(one)
    elif pictures is not None:
        yield pictures
