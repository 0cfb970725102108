"""Files of a conversation on the terminal: its answers' masks as they come, the whole of it when asked."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from stamp_train.predict.chat.transcript import save
from stamp_train.predict.dialogue import Chat
from stamp_train.predict.segmentation import Segmentation
from stamp_train.predict.writing import MASKS, PredictionFolder


class Keeper:
    """Writes into one folder, in the layout of `stamp_train.predict.writing`; it is made when there is something to keep.

    folder: a new one, or one that conversations were kept in before; those stay. model: name of the checkpoint.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder, self._model = folder, model
        self._written: PredictionFolder | None = None

    def keep(self, image: Path, answer: Segmentation) -> tuple[list[Path], Path]:
        """Write an answer that has masks; their files, and that of their overlay."""
        self._written = self._written or PredictionFolder(self.folder, {"kind": "conversation"})
        names = (f"answer-{number:03d}" for number in count(1))
        name = next(name for name in names if not (self.folder / MASKS / f"{name}-1.png").exists())
        row = self._written.add(name, str(image), answer.question, answer)
        assert row.overlay is not None  # there are masks
        return [self.folder / mask.file for mask in row.masks], self.folder / row.overlay

    def save(self, chat: Chat, image: Path, path: Path | None) -> Path:
        """Write a conversation (see `transcript.save`), by default under the next free name of the folder; its path."""
        paths = (self.folder / f"conversation-{number}.json" for number in count(1))
        path = path or next(path for path in paths if not path.exists())
        save(chat, path, self._model, str(image))
        return path
