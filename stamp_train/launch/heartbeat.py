"""Noticing a process of a run that hangs, and naming it, wherever it hangs: in a collective, between two, or stopped whole.

A process that waits for another in a collective cannot look for itself, so that every process has a thread for it. Threads post
in a store of their own that they live, and how often their process has come to a place that all come to in turn. One that is
not heard of for too long has stopped; one that is behind for too long is what the others wait for.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from stamp_schemas import StampError

if TYPE_CHECKING:
    from accelerate import Accelerator

HOST = 0  # the main process holds the store
_LINGER = 3  # intervals that a process stays after it has found who hangs, so that all find it and one says it
_LEAVE = 10.0  # seconds; a store whose process hangs may hold a thread for ever


class Post(NamedTuple):
    """What a process says of itself. beats: places it came to. excused: times that it was seen at work that may take long."""

    number: int
    beats: int
    excused: int
    where: str

    @classmethod
    def of(cls, text: str) -> Post:
        """As it is in the store."""
        number, beats, excused, where = text.split(" ", 3)
        return cls(int(number), int(beats), int(excused), where)


class Overview:
    """What process `rank` of `world` knows of all, itself included. patience: seconds."""

    def __init__(self, rank: int, world: int, patience: float, now: float) -> None:
        self.rank, self.patience = rank, patience
        self.posts = [Post(-1, 0, 0, "")] * world
        self._heard = [now] * world
        self._moved = [now] * world

    def note(self, rank: int, post: Post, now: float) -> None:
        """Another post of a process, or the same as before."""
        last = self.posts[rank]
        if post.number != last.number:
            self._heard[rank] = now
        if (post.beats, post.excused) != (last.beats, last.excused):
            self._moved[rank] = now
        self.posts[rank] = post

    def forgive(self, now: float) -> None:
        """Begin to count anew: this process itself was stopped for a while, and perhaps all were."""
        self._heard = [now] * len(self.posts)
        self._moved = [now] * len(self.posts)

    def hung(self, now: float) -> dict[int, str]:
        """The processes that hang, and what is known of each."""
        silent = [now - heard for heard in self._heard]
        if silent[self.rank] > self.patience / 2:  # not even of us: it is the process that holds the store
            over = silent[self.rank] > self.patience
            return {HOST: f"nothing was heard of it for {silent[self.rank]:.0f} s"} if over else {}
        foremost = max(post.beats for post in self.posts)
        awaited = [
            rank
            for rank, post in enumerate(self.posts)
            if post.beats < foremost and now - self._moved[rank] > self.patience
        ]
        gone = [
            rank
            for rank, quiet in enumerate(silent)
            if quiet > self.patience or (rank in awaited and quiet > self.patience / 2)
        ]
        if gone or max(silent) > self.patience / 2:  # who is behind may be waiting for one that has stopped
            return {rank: f"nothing was heard of it for {silent[rank]:.0f} s" for rank in gone}
        return {rank: f"the others wait for it, since {now - self._moved[rank]:.0f} s" for rank in awaited}


class Heartbeat:
    """While it is open, the processes of a run watch one another; one alone has nothing to watch.

    accelerator: of the processes; all have to open it. patience: seconds. tell: told who hangs, on one of the others. All of
    these end then with exit code 1. found: whether that is under way.
    """

    def __init__(self, accelerator: Accelerator, patience: float, tell: Callable[[StampError], None]) -> None:
        self.found = False
        self._accelerator, self._patience, self._tell = accelerator, patience, tell
        self._rank, self._world = int(accelerator.process_index), int(accelerator.num_processes)
        self._interval = min(max(patience / 10, 0.1), 10.0)
        self._beats = self._excused = 0
        self._busy, self._closed = False, threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Heartbeat:
        self._overview = Overview(self._rank, self._world, self._patience, time.monotonic())
        if self._world > 1:
            self._store = _open_store(self._accelerator)
            self._read(time.monotonic())  # who is who, even of one that stops before it posts again
            self._threads = [threading.Thread(target=work, daemon=True) for work in (self._exchange, self._watch)]
            for thread in self._threads:
                thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join(_LEAVE)  # one that is in the store when the interpreter ends takes the process down with it

    def beat(self) -> None:
        """The process has come to a place that all others come to as often. Costs nothing."""
        self._beats += 1

    @contextlib.contextmanager
    def excused(self) -> Iterator[None]:
        """What this process does meanwhile, writing to slow storage, may take any time."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _exchange(self) -> None:
        """Post, and read what the others have posted. If the process that holds the store hangs, so does this."""
        number = 0
        with contextlib.suppress(RuntimeError):  # the process that holds the store is gone: it will not be heard of
            while not self._closed.wait(self._interval):
                number += 1
                self._excused += self._busy
                self._store.set(str(self._rank), f"{number} {self._beats} {self._excused} {_this_process()}")
                self._read(time.monotonic())

    def _read(self, now: float) -> None:
        for rank, text in enumerate(self._store.multi_get([str(rank) for rank in range(self._world)])):
            self._overview.note(rank, Post.of(text.decode()), now)

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._closed.wait(self._interval):
            now = time.monotonic()
            if now - last > self._patience / 2:
                self._overview.forgive(now)
            last = now
            if hung := self._overview.hung(now):
                self._end(hung)

    def _end(self, hung: dict[int, str]) -> None:
        self.found = True
        speaker = min(set(range(self._world)) - set(hung), default=-1)
        if self._rank == speaker:
            named = "; ".join(
                f"process {rank} of the run ({self._overview.posts[rank].where}) hangs: {why}"
                for rank, why in hung.items()
            )
            hint = "--resume auto goes on from the last checkpoint, if there is one; if none hangs, raise the recipe's patience"
            self._tell(StampError(named, hint))
        time.sleep(_LINGER * self._interval)
        os._exit(1)  # the main thread waits where nothing can call it back


def _this_process() -> str:
    return f"pid {os.getpid()} on {socket.gethostname()}"


def _open_store(accelerator: Accelerator) -> Any:
    """A store for these threads alone: those of another's operations that wait would hold them up."""
    from accelerate.utils import broadcast_object_list
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # not in its stub

    host = os.environ.get("MASTER_ADDR", "localhost")
    store = TCPStore(host, 0, is_master=True, wait_for_workers=False) if accelerator.is_main_process else None
    port = [store.port if store else 0]
    broadcast_object_list(port)
    store = store or TCPStore(host, port[0], is_master=False, wait_for_workers=False)
    store.set(str(accelerator.process_index), f"0 0 0 {_this_process()}")
    accelerator.wait_for_everyone()
    return store
