"""The runs of a comparison, one after another: each is trained, evaluated and measured, and goes on from where it was."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from stamp_data.writing import write_atomic
from stamp_schemas import StampError
from stamp_schemas.recipe import Recipe
from stamp_train.compare import folder as files
from stamp_train.compare.base import make_base
from stamp_train.compare.batches import check_equal
from stamp_train.compare.jobs import run_module
from stamp_train.compare.variants import recipe_of
from stamp_train.eval.journal import RESULTS
from stamp_train.eval.results import read_results
from stamp_train.recipes import Resolved
from stamp_train.train.folder import FINAL

Report = Callable[[int, int, str], None]
_STEPS = 3  # of a run: training, evaluation, measuring
_COMMANDS = "stamp_cli.train"


@dataclass(frozen=True)
class Plan:
    """What is compared. names: of variants. resolved: the recipe that all share; recipe, overrides: as it was called.
    seeds: how many. asking: of trained models. processes: of training and evaluation, on this machine."""

    names: Sequence[str]
    recipe: str
    overrides: Sequence[str]
    resolved: Resolved
    seeds: int
    out: Path
    asking: files.Asking
    processes: int = 1

    @property
    def seed_numbers(self) -> list[int]:
        """The recipe's seed and those that follow it."""
        return [self.resolved.recipe.seed + number for number in range(self.seeds)]

    def place(self, name: str, seed: int) -> Path:
        """Folder of one variant with one seed."""
        return self.out / files.RUNS / name / f"seed-{seed}"


@dataclass
class Done:
    """What has come of it. failed: (variant, seed) -> why. batches: seed -> digest of what all methods have learned from."""

    failed: dict[tuple[str, int], str] = field(default_factory=dict)
    batches: dict[int, str] = field(default_factory=dict)


def work(plan: Plan, report: Report) -> Done:
    """Do what is left of all runs, all methods with a seed before the next seed. One that fails is noted, and the others go on.

    report is told (steps done, steps, what). KeyboardInterrupt: asked to stop; what was being done is safe. StampError: the
    base cannot be made.
    """
    worker = _Worker(plan, _with_base(plan), report)
    for seed in plan.seed_numbers:
        for name in plan.names:
            worker.run(name, seed)
    return worker.found


class _Worker:
    """Does run after run. overrides: of the recipe, the base included."""

    def __init__(self, plan: Plan, overrides: Sequence[str], report: Report) -> None:
        self.plan, self.overrides, self.report = plan, overrides, report
        self.found = Done()
        self._trained: dict[int, dict[str, Path]] = {}  # seed -> folders of runs, which must have seen the same
        self._runs = self._step = 0
        self._what = ""

    def run(self, name: str, seed: int) -> None:
        self._what, self._step = f"{name}, seed {seed}", 0
        try:
            self._run(name, seed)
        except StampError as fault:
            self.found.failed[name, seed] = str(fault)
            self._tell(f"failed: {fault}")
        self._runs += 1

    def _run(self, name: str, seed: int) -> None:
        plan, place = self.plan, self.plan.place(name, seed)
        resolved = recipe_of(plan.recipe, self.overrides, name, seed)
        self._tell("training")
        _train(plan, resolved, place, self._tell)
        trained = {**self._trained.get(seed, {}), name: place / files.RUN}
        self.found.batches[seed] = check_equal(trained)
        self._trained[seed] = trained
        self._begin(1, "evaluation")
        _evaluate(plan, resolved, place, self._tell)
        self._begin(2, "measuring")
        _measure(plan, place, self._tell)

    def _begin(self, step: int, what: str) -> None:
        self._step = step
        self._tell(what)

    def _tell(self, text: str) -> None:
        total = len(self.plan.names) * self.plan.seeds * _STEPS
        self.report(self._runs * _STEPS + self._step, total, f"{self._what}: {text}")


def _with_base(plan: Plan) -> list[str]:
    """Overrides by which all begin with the same base: the recipe's, or one of ours where it has a preset."""
    if not plan.resolved.recipe.model.preset:
        return list(plan.overrides)
    base = plan.out / files.BASE
    make_base(plan.resolved.recipe, base)
    return [*plan.overrides, "model.preset=", f"model.start={base.resolve()}"]


def _train(plan: Plan, resolved: Resolved, place: Path, tell: Callable[[str], None]) -> None:
    run = place / files.RUN
    if (run / FINAL).is_dir():
        return
    place.mkdir(parents=True, exist_ok=True)
    write_atomic(place / files.RECIPE, resolved.yaml().encode())
    asked = ["run", str(place / files.RECIPE), "--out", str(run), "--resume", "auto", "--json"]
    run_module(_COMMANDS, [*asked, "--processes", str(plan.processes)], place, tell)


def _evaluate(plan: Plan, resolved: Resolved, place: Path, tell: Callable[[str], None]) -> None:
    out, recipe = place / files.EVALUATION, resolved.recipe
    if not (out / RESULTS).is_file():
        run_module(_COMMANDS, _evaluation(plan, recipe, place), place, tell)
    if damaged := read_results(out / RESULTS).damaged:
        one = damaged[0]
        raise StampError(f"{len(damaged)} damaged cases, which others may have scored: {one.set} {one.id}: {one.fault}")


def _evaluation(plan: Plan, recipe: Recipe, place: Path) -> list[str]:
    """Arguments of the command."""
    sets = [f"{recipe.data.root.rstrip('/')}/{name}" for name in recipe.evaluation.sets]
    asked = ["eval", str(place / files.RUN), *sets, "--out", str(place / files.EVALUATION), "--mode", "both", "--json"]
    asked += ["--upsampling", recipe.evaluation.upsampling, "--max-new-tokens", str(plan.asking.max_new_tokens)]
    asked += ["--records", str(plan.asking.records)] if plan.asking.records else []
    return [*asked, "--processes", str(plan.processes), "--allow-damaged", str(sys.maxsize)]


def _measure(plan: Plan, place: Path, tell: Callable[[str], None]) -> None:
    if not (place / files.MEASURED).is_file():
        asking = msgspec.json.encode(plan.asking).decode()
        run_module("stamp_train.compare.measure", [str(place), asking], place, tell)
