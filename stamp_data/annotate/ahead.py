"""A model looks at pictures before anybody asks about them: at the one that is shown, and then at the next ones."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from stamp_data.annotate.assist import UInt8
from stamp_data.annotate.images import Images

NEXT = 3  # pictures after the one that is shown


class Ahead:
    """One worker. look: what it does with a picture, uint8 [height, width, 3].

    A fault is told when somebody asks about the picture, since that tries the same again.
    """

    def __init__(self, images: Images, look: Callable[[UInt8], None]) -> None:
        self._images, self._look = images, look
        self._worker, self._shown = ThreadPoolExecutor(1), -1
        self._seen: set[str] = set()

    def turn(self, number: int) -> None:
        """Another picture is shown: what waits for others is passed over."""
        self._shown = number
        for place in range(number, min(number + NEXT + 1, len(self._images.names))):
            self._worker.submit(self._do, place)

    def close(self) -> None:
        """Look at no more pictures."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _do(self, number: int) -> None:
        """Only what is shown is kept decoded, as it may be asked about at once."""
        name, ahead = self._images.names[number], number - self._shown
        if ahead == 0:
            self._look(self._images.pixels(number))
        elif 0 < ahead <= NEXT and name not in self._seen:
            self._look(self._images.fresh(number))
        else:
            return
        self._seen.add(name)
