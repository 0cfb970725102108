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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from stamp_schemas import StampError, UsageFault
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.prompts import Prompt
from stamp_train.generation.replies import Answer
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.methods.upsample import BILINEAR, check_method, probabilities
from stamp_train.predict.batches import Batcher
from stamp_train.predict.dialogue import Chat
from stamp_train.predict.image import Source, open_image
from stamp_train.predict.opening import open_checkpoint, told
from stamp_train.predict.refine.refiner import Refiner, works
from stamp_train.predict.requests import Request
from stamp_train.predict.segmentation import Segmentation
from stamp_train.sequence.errors import StampModelError


class Segmenter:
    """A model that answers about pictures in text and masks.

    upsampling: from the patch grid to the picture's size, one of `stamp_train.methods.upsample.METHODS`; UsageFault for
    another. refiner: improves every mask at the picture's size, see `stamp_train.predict.refine.load_refiner`.
    """

    def __init__(self, generator: StampGenerator, upsampling: str = BILINEAR, refiner: Refiner | None = None) -> None:
        check_method(upsampling)
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
        """Open a checkpoint: the folder of a model, of a training run (its finished model, else its newest checkpoint), or of
        an adapter.

        device: `auto` takes CUDA, then MPS, then the CPU; or as torch names them. dtype: `bfloat16`, `float16` or `float32`;
        `auto` is the stored one, on a CPU float32. base: folder or hub name of the model that an adapter was trained on, where
        it does not know or that has moved. UsageFault for no such device, dtype or upsampling; StampError says how a checkpoint
        is at fault.
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
        """The answer to one question about one picture, see `Request` and `segment_all`."""
        (found,) = self.segment_all([Request(image, text)], force_mask=force_mask, **options)
        return found

    def segment_all(
        self, requests: Iterable[Request], *, force_mask: bool = False, **options: Any
    ) -> Iterator[Segmentation]:
        """The answers to many requests, in their order, while they are being read as far as the next batch needs.

        Requests about the same picture that follow one another share its encoding. A batch that memory does not suffice for
        is halved, which is said by a warning in the log. force_mask: an answer without `<|seg|>` gets one mask, as if `<|seg|>`
        had been all that was said. options: fields of `GenerationOptions`; `batch_size` is the number of requests at a time.
        StampError at the first request whose picture or question cannot be used, or that memory does not suffice for.
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
        for job in batcher.jobs(requests):
            if job.fault is not None:
                yield job.fault
            else:
                assert job.answer is not None  # a job ends with an answer or a fault
                yield self.finished(job.answer, job.image, job.forced)

    def chat(self, image: Source | None, **options: Any) -> Chat:
        """A conversation about a picture; options: fields of `GenerationOptions`. StampError if the picture cannot be used."""
        opened = None if image is None else open_image(image)
        return Chat(self.generator, self.finished, opened, GenerationOptions(**options))

    def finished(self, answer: Answer, image: Image.Image | None, forced: bool = False) -> Segmentation:
        """An answer of the model with its masks at the picture's size, refined if there is a refiner."""
        masks: list[NDArray[np.bool_]] = []
        smooth: list[NDArray[np.float32]] = []
        refined = False
        logits = [one.numpy() for one in answer.masks]
        if image is not None:
            pixels = np.asarray(image)
            height, width = pixels.shape[:2]
            smooth = [probabilities(one, height, width, self.upsampling, pixels).numpy() for one in answer.masks]
            masks = [mask > 0.5 for mask in smooth]
            if self.refiner is not None and masks:
                failed = self.refiner.failed
                masks = self.refiner.refine_all(pixels, logits, masks)
                refined = works(self.refiner) and self.refiner.failed == failed
        return Segmentation(
            answer.text,
            answer.content,
            tuple(masks),
            tuple(smooth),
            tuple(logits),
            image,
            answer.finish,
            forced=forced,
            refined=refined,
        )
