"""A call of `stamp-train predict`: requests in, rows out, and nothing done twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from stamp_schemas import StampError
from stamp_train.predict.inputs import Asked
from stamp_train.predict.writing import Prediction, PredictionFolder

if TYPE_CHECKING:
    from stamp_train.predict.segmenter import Segmenter


def answer_all(
    asked: Iterable[Asked | StampError],
    folder: PredictionFolder,
    open_segmenter: Callable[[], Segmenter],
    **options: Any,
) -> Iterator[Prediction | StampError]:
    """A row or a fault for every request: first those that are known at once, then the others in their order.

    folder: holds the rows of earlier calls and gets the new ones. open_segmenter: called if there is anything to answer;
    options: of `Segmenter.outcomes`.
    """
    waiting = []
    for one in asked:
        known = one if isinstance(one, StampError) else _known(one, folder)
        if known is not None:
            yield known
        elif isinstance(one, Asked):
            waiting.append(one)
    if not waiting:
        return
    outcomes = open_segmenter().outcomes((one.request() for one in waiting), **options)
    for one, outcome in zip(waiting, outcomes, strict=True):
        yield outcome if isinstance(outcome, StampError) else folder.add(one.id, one.shown, one.prompt, outcome)


def _known(one: Asked, folder: PredictionFolder) -> Prediction | StampError | None:
    try:
        return folder.found(one.id, one.shown, one.prompt)
    except StampError as fault:
        return fault
