"""`python -m tools.tiny_base train|score|publish --out FOLDER`: see README.md beside this file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from stamp_schemas import StampError
from tools.tiny_base.batches import Batches, CachedChat
from tools.tiny_base.network import Projected
from tools.tiny_base.publishing import publish
from tools.tiny_base.recipe import DEFAULT, read_recipe
from tools.tiny_base.scenes import Pool, open_pool
from tools.tiny_base.scoring import score, table
from tools.tiny_base.training import Learner, read_checkpoint, train


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.tiny_base", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, about in (
        ("train", "learn for some minutes, on from the last checkpoint if there is one"),
        ("score", "right answers on held-out scenes, as a table"),
        ("publish", "write the plain checkpoint, with its scores"),
    ):
        command = commands.add_parser(name, help=about)
        command.add_argument("--out", type=Path, required=True, help="folder of checkpoint, log and rendered scenes")
        command.add_argument("--recipe", type=Path, default=DEFAULT)
        command.add_argument("--threads", type=int, default=1)
        if name == "train":
            command.add_argument("--minutes", type=float, required=True)
        if name == "publish":
            command.add_argument("--to", type=Path, required=True, help="folder of the checkpoint, which is replaced")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    asked = _parse(arguments)
    torch.set_num_threads(asked.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a help for finding bugs
    try:
        recipe = read_recipe(asked.recipe)
        asked.out.mkdir(parents=True, exist_ok=True)
        learner = Learner(recipe, read_checkpoint(asked.out))
        if asked.command == "train":
            train(learner, _pool(learner, asked.out, held_out=False), asked.out, asked.minutes, _say)
            return 0
        scores = _score(learner, asked.out)
        print(f"After {learner.step:,} steps:\n\n{scores}")
        if asked.command == "publish":
            publish(learner, scores, asked.to)
    except StampError as fault:
        _say(str(fault))
        return 1
    return 0


def _pool(learner: Learner, out: Path, *, held_out: bool) -> Pool:
    scenes = learner.recipe.scenes
    seed, count = (scenes.held_out_seed, scenes.held_out) if held_out else (scenes.train_seed, scenes.train)
    projection = learner.projection.proj.weight.detach().flatten(1)
    return open_pool(scenes, seed, count, projection, out / "scenes", _say)


def _score(learner: Learner, out: Path) -> str:
    pool = _pool(learner, out, held_out=True)
    batches = Batches(pool, CachedChat(learner.tokenizer), learner.grid)
    network = learner.averaged()
    network.model.visual.patch_embed = Projected()
    return table(score(network, batches, len(pool)))


if __name__ == "__main__":
    sys.exit(main())
