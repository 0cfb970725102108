"""Requests of one picture joined to dialogues of several rounds.

Every draw is a function of (seed, record, request, pass), as that of a single dialogue: a round that refers to nothing says
what the single dialogue would.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import msgspec
from xxhash import xxh3_64_intdigest

from stamp_data.build.scene import OTHER, Scene
from stamp_data.instructions import draw
from stamp_data.instructions.rounds import anchor_text, round_wording
from stamp_schemas import Content, Dialogue, Message, Request, Settings
from stamp_schemas.record import Round

_NAMING = ("phrase", "description")  # forms of requests that name a thing, so that another name can take the place


def grouped(requests: Sequence[Request], settings: Settings, key: str) -> list[list[Request]]:
    """The requests of a record in groups of at most `settings.most_rounds`, as even as possible, each once.

    Those with other targets come together as far as possible: a dialogue then goes on to something else. Passes over a set have
    the same groups.
    """
    most = settings.most_rounds
    if most == 1:
        return [[request] for request in requests]

    def place(request: Request) -> int:
        return xxh3_64_intdigest(f"{settings.seed}/{key}/{request.id}/group".encode())

    before: defaultdict[tuple[int, ...], int] = defaultdict(int)
    ranked = []
    for request in sorted(requests, key=place):
        aim = tuple(request.targets)
        ranked.append((before[aim], request))
        before[aim] += 1
    ranked.sort(key=lambda one: one[0])  # stable
    count = -(-len(ranked) // most)
    bounds = [len(ranked) * number // count for number in range(count + 1)] if count else [0]
    return [[one for _, one in ranked[start:end]] for start, end in pairwise(bounds)]


class Joiner:
    """Writes the dialogues of one record. scene: what its picture shows. things: by index of target, the id of the one thing
    that it is; other targets are missing.
    """

    def __init__(self, settings: Settings, key: str, scene: Scene, things: dict[int, str]) -> None:
        self.settings = settings
        self.key = key
        self.scene = scene
        self.things = things

    def join(self, group: Sequence[Request], number: int, place: dict[int, int]) -> Dialogue:
        """The dialogue of a group in pass `number`, called as that of its first request would be.

        place: index of each target in the record, by its index in the annotation.
        """
        rounds: list[Round] = []
        messages: list[Message] = []
        for request in group:
            name = f"{request.id}-p{number}"
            one = self._round(request, group[: len(rounds)], rounds, name)
            asked = msgspec.structs.replace(request, text=one.said)
            questions = round_wording().questions if one.reference else ()
            question, answer = draw(asked, self.key, name, self.settings.seed, self.settings.wording, questions)
            picture = [] if messages else [Content("image")]
            messages.append(Message("user", [*picture, Content("text", question)]))
            messages.append(Message("assistant", [Content("text", answer)]))
            rounds.append(one)
        targets = [place[index] for request in group for index in request.targets]
        file = group[0].where[0]
        where = [file, *dict.fromkeys(request.where[1] for request in group if request.where[0] == file)]
        return Dialogue(f"{group[0].id}-p{number}", "", targets, messages, where, rounds)

    def _round(self, request: Request, before: Sequence[Request], rounds: Sequence[Round], name: str) -> Round:
        """A round with its reference, which half of those have that can have one."""
        plain = Round(request.id, request.text, [*request.where])
        number = xxh3_64_intdigest(f"{self.settings.seed}/{self.key}/{name}/reference".encode())
        found = [] if number & 1 else self._references(request, before, rounds)
        if not found:
            return plain
        relation, anchor, text = found[(number >> 1) % len(found)]
        return msgspec.structs.replace(plain, reference=text, relation=relation, anchor=anchor)

    def _references(
        self, request: Request, before: Sequence[Request], rounds: Sequence[Round]
    ) -> list[tuple[str, int, str]]:
        """(relation, round that it refers to, text) of all that may stand for the request's expression."""
        thing = self._thing(request)
        if thing is None or request.form not in _NAMING:
            return []
        name = self.scene.things[thing].name
        templates = round_wording()
        found = []
        for anchor, earlier in enumerate(before):
            is_last = anchor == len(before) - 1
            other = self._thing(earlier)
            for relation in self.scene.relations(thing, other) if other is not None else []:
                if relation == OTHER and not is_last:
                    continue
                texts = list(templates.relations[relation])
                if relation == OTHER and _names(rounds[anchor].said, name):
                    texts.append(templates.other_of_that_name)
                for text in texts:
                    filled = text.replace("{name}", name).replace("{anchor}", anchor_text(anchor, len(before)))
                    found.append((relation, anchor, filled))
        return found

    def _thing(self, request: Request) -> str | None:
        """The one thing that a request asks for, if it is just one."""
        return self.things.get(request.targets[0]) if len(request.targets) == 1 else None


def _names(text: str, name: str) -> bool:
    """Whether a text calls a thing by that name."""
    return re.search(rf"\b{re.escape(name)}\b", text, re.IGNORECASE) is not None
