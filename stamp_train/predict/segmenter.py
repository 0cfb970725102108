"""Text and masks from pictures and sentences, in one call.

    >>> from stamp_train.predict import Request, Segmenter, question
    >>> segmenter = Segmenter.from_pretrained("checkpoint")
    >>> found = segmenter.segment("dog.jpg", question("left dog"), begin="It is <|seg|>", max_new_tokens=4)
    >>> found.masks[0].shape == found.image_size, found.masks[0].dtype
    (True, dtype('bool'))

Many requests go through the model in batches; those about one picture share what it costs to look at it:

    >>> requests = [Request("dog.jpg", question(name)) for name in ("left dog", "ball")]
    >>> [len(found.masks) > 0 for found in segmenter.segment_all(requests, force_mask=True, max_new_tokens=4)]
    [True, True]

A conversation goes on over several rounds:

    >>> chat = segmenter.chat("dog.jpg", max_new_tokens=4)
    >>> masks = chat.say("Where is the ball?", begin="Here: <|seg|>").masks
    >>> answer = chat.say("And what colour is it?").text
    >>> len(chat.history)
    2
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from stamp_schemas import StampError, UsageFault
from stamp_schemas.record import SEG
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.prompts import Prompt
from stamp_train.generation.replies import Answer
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.methods.upsample import BILINEAR, METHODS, probabilities
from stamp_train.predict.batches import Batcher, Job
from stamp_train.predict.faults import told
from stamp_train.predict.opening import open_checkpoint
from stamp_train.predict.picture import Source, open_picture
from stamp_train.predict.refine.refiner import works
from stamp_train.predict.requests import Request
from stamp_train.predict.segmentation import Segmentation
from stamp_train.sequence.errors import StampModelError

if TYPE_CHECKING:
    from stamp_train.predict.dialogue import Chat
    from stamp_train.predict.refine import Refiner


class Segmenter:
    """A model that answers about pictures in text and masks.

    Args:
        generator: model and processor.
        upsampling: from the patch grid to the picture's size, one of `stamp_train.methods.upsample.METHODS`.
        refiner: improves every mask at the picture's size, see `stamp_train.predict.refine.load_refiner`.

    Raises:
        UsageFault: no such upsampling.
    """

    def __init__(self, generator: StampGenerator, upsampling: str = BILINEAR, refiner: Refiner | None = None) -> None:
        if upsampling not in METHODS:
            raise UsageFault(f"no upsampling {upsampling!r}", f"choose one of {', '.join(METHODS)}")
        self.generator, self.upsampling, self.refiner = generator, upsampling, refiner

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        device: str = "auto",
        dtype: str = "auto",
        upsampling: str = BILINEAR,
        refiner: Refiner | None = None,
        base: str | Path = "",
    ) -> Segmenter:
        """Open a checkpoint.

        Args:
            path: folder of a model, of a training run (its finished model, else its newest checkpoint), or of a LoRA
                checkpoint within a run.
            device: `auto` takes CUDA, then MPS, then the CPU; or as torch names them.
            dtype: `bfloat16`, `float16` or `float32`; `auto` is the stored one, on a CPU float32.
            upsampling, refiner: see the class.
            base: folder or hub name of the model that an adapter was trained on, where it does not know or that has moved.

        Raises:
            UsageFault: no such device, dtype or upsampling.
            StampError: the checkpoint is at fault; says how.
        """
        model, processor = open_checkpoint(path, device, dtype, base)
        with told(str(path)):
            return cls(StampGenerator(model, processor), upsampling, refiner)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.generator.model.device
        return device

    def segment(self, image: Source | None, text: Prompt, *, force_mask: bool = False, **options: Any) -> Segmentation:
        """The answer to one question about one picture.

        Args:
            image, text: see `Request`.
            force_mask: see `segment_all`.
            options: fields of `GenerationOptions`.

        Raises:
            StampError: the picture or the question cannot be used, or memory does not suffice.
        """
        (found,) = self.segment_all([Request(image, text)], force_mask=force_mask, **options)
        return found

    def segment_all(
        self, requests: Iterable[Request], *, force_mask: bool = False, **options: Any
    ) -> Iterator[Segmentation]:
        """The answers to many requests, in their order, while they are being read.

        Requests about the same picture that follow one another share its encoding. A batch that memory does not suffice
        for is halved, which is said by a warning in the log.

        Args:
            requests: read as far as the next batch needs.
            force_mask: an answer without `<|seg|>` gets one mask, as if `<|seg|>` had been all that was said.
            options: fields of `GenerationOptions`; `batch_size` is the number of requests at a time.

        Raises:
            StampError: as `segment`, at the first request at fault; `outcomes` goes on.
        """
        for outcome in self.outcomes(requests, force_mask=force_mask, **options):
            if isinstance(outcome, StampError):
                raise outcome
            yield outcome

    def outcomes(
        self, requests: Iterable[Request], *, force_mask: bool = False, **options: Any
    ) -> Iterator[Segmentation | StampError]:
        """As `segment_all`, but a request at fault gives its error in place of an answer, and the others go on."""
        try:
            batcher = Batcher(self.generator, GenerationOptions(**options), force_mask)
        except StampModelError as fault:
            raise UsageFault(fault.message, fault.hint) from fault
        for job in batcher.jobs((r.image, r.text, r.name) for r in requests):
            yield job.fault or self._finished(job)

    def chat(self, image: Source | None, **options: Any) -> Chat:
        """A conversation about a picture.

        Args:
            image: see `Request`.
            options: fields of `GenerationOptions`.

        Raises:
            StampError: the picture cannot be used.
        """
        from stamp_train.predict.dialogue import Chat

        return Chat(self, None if image is None else open_picture(image), GenerationOptions(**options))

    def finished(self, answer: Answer, picture: Image.Image | None, forced: bool = False) -> Segmentation:
        """An answer of the model with its masks at the picture's size, refined if there is a refiner."""
        masks, smooth, refined = self._drawn(answer, picture)
        return Segmentation(
            text=answer.text,
            content=answer.content,
            masks=masks,
            probabilities=smooth,
            logits=tuple(logits.numpy() for logits in answer.masks),
            picture=picture,
            finish=answer.finish,
            forced=forced,
            refined=refined,
        )

    def _drawn(
        self, answer: Answer, picture: Image.Image | None
    ) -> tuple[tuple[NDArray[np.bool_], ...], tuple[NDArray[np.float32], ...], bool]:
        """Masks and probabilities at the picture's size, and whether the masks are refined."""
        if picture is None:
            return (), (), False
        pixels = np.asarray(picture)
        height, width = pixels.shape[:2]
        smooth = [probabilities(logits, height, width, self.upsampling, pixels).numpy() for logits in answer.masks]
        masks = [mask > 0.5 for mask in smooth]
        refined = False
        if self.refiner is not None and masks:
            failed = self.refiner.failed
            masks = self.refiner.refine_all(pixels, [logits.numpy() for logits in answer.masks], masks)
            refined = works(self.refiner) and self.refiner.failed == failed
        return tuple(masks), tuple(smooth), refined

    def _finished(self, job: Job) -> Segmentation:
        assert job.answer is not None  # a job ends with an answer or a fault
        if job.forced is None:
            return self.finished(job.answer, job.picture)
        drawn = self.finished(job.forced, job.picture, forced=True)
        return replace(drawn, text=job.answer.text, content=job.answer.content + SEG, finish=job.answer.finish)
