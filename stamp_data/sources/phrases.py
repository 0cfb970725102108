"""Pictures of one's own: things that are called the same are asked for together, since the words name them all."""

from __future__ import annotations

from dataclasses import dataclass, field

from stamp_data.sources.refer import make_unique
from stamp_schemas import Region, Request, Target
from stamp_schemas.annotation import Where


@dataclass
class Named:
    """What one phrase names in one picture. where: of the request, for rejects."""

    phrase: str
    where: Where
    regions: list[Region] = field(default_factory=list)
    instances: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)


def ask(named: list[Named]) -> tuple[list[Target], list[Request]]:
    """One request per phrase; phrases that name the same instances share a target, called by the instances' ids."""
    places: dict[str, int] = {}
    targets: list[Target] = []
    requests: list[Request] = []
    for one in named:
        identity = "-".join(one.instances)
        if identity not in places:
            places[identity] = len(targets)
            targets.append(Target(identity, one.regions, one.instances, one.categories))
        requests.append(Request(identity, one.phrase, [places[identity]], one.where))
    make_unique(requests)
    return targets, requests
