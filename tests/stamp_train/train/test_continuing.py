"""By which recipe a run goes on, and what is said before anything of a folder goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stamp_schemas import UsageFault
from stamp_train.recipes import Resolved, resolve
from stamp_train.train.machine import with_native_precision
from stamp_train.train.resume import begun_anew, continued, forked

from ..runs import make_shards, train, write_recipe

FIRST = ("data.root=elsewhere", "seed=3")


def asked(*overrides: str) -> Resolved:
    return with_native_precision(resolve("tiny", overrides))


def begun(out: Path, *overrides: str, checkpoint: bool = True) -> Path:
    """A run's folder, as one that was called with these overrides leaves it."""
    out.mkdir()
    (out / "recipe.yaml").write_text(asked(*overrides).yaml(), encoding="utf-8")
    (out / "log.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1, 9)))
    if checkpoint:
        folder = out / "checkpoints/step-000008"
        folder.mkdir(parents=True)
        (folder / "state.json").write_text('{"step": 8, "stage": 0, "stage_step": 8, "stream": {}}')
    return out


def test_the_same_call_goes_on_without_a_word(tmp_path: Path) -> None:
    out = begun(tmp_path / "run", *FIRST)
    found, told = continued(asked(*FIRST), out, FIRST)
    assert found == asked(*FIRST) and told == []


def test_what_the_first_call_spelled_stays(tmp_path: Path) -> None:
    """`--resume auto` alone does not take the recipe back to what it is without the first call's changes."""
    out = begun(tmp_path / "run", *FIRST)
    found, told = continued(asked(), out, ())
    assert found.name == "tiny" and found.recipe == asked(*FIRST).recipe
    (line,) = told
    assert line.startswith(f"{out / 'recipe.yaml'} goes on, which is not tiny as called: ")
    assert "data.root: demo/shards -> elsewhere" in line and "seed: 0 -> 3" in line


def test_a_change_is_spelled_and_shown(tmp_path: Path) -> None:
    out = begun(tmp_path / "run", *FIRST)
    found, told = continued(asked("optimizer.clip=2"), out, ("optimizer.clip=2",))
    assert found.recipe == asked(*FIRST, "optimizer.clip=2").recipe
    assert told[0] == "changed since the run began: optimizer.clip: 1.0 -> 2.0"


def test_another_recipe_is_another_run(tmp_path: Path) -> None:
    out = begun(tmp_path / "run")
    with pytest.raises(UsageFault, match="holds a run of tiny, not of stamp-2b"):
        continued(with_native_precision(resolve("stamp-2b")), out, ())
    found, _ = continued(with_native_precision(resolve(str(out / "recipe.yaml"))), out, ())
    assert found.name == "tiny" and found.recipe == asked().recipe


def test_a_fork_says_what_is_other_than_where_it_comes_from(tmp_path: Path) -> None:
    out = begun(tmp_path / "run", *FIRST)
    told = forked(asked("data.root=elsewhere"), out / "checkpoints/step-000008")
    assert told == [f"other than in {out.resolve()}: seed: 3 -> 0"]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("method.head=patch",), "method.head: fine -> patch"),
        (("model.tuning=lora",), "model.tuning: full -> lora"),
        (("method={name: text4seg}",), "method.name: stamp -> text4seg"),
    ],
)
def test_a_network_that_goes_on_stays_as_it_began(overrides: tuple[str, ...], told: str, tmp_path: Path) -> None:
    """Or recipe.yaml would tell of one that the run does not have. What is of the training alone may change."""
    out = begun(tmp_path / "run", *FIRST)
    with pytest.raises(UsageFault, match=f"{out}: its network stays as it began: not .*{told}"):
        continued(asked(*overrides), out, overrides)
    with pytest.raises(UsageFault, match=f"its network stays as it began: not .*{told}"):
        forked(asked(*overrides), out / "checkpoints/step-000008")
    assert continued(asked("method.loss=paper"), out, ("method.loss=paper",))[0].recipe.method.loss == "paper"


def test_a_log_without_a_checkpoint_does_not_go_without_a_word(tmp_path: Path) -> None:
    out = begun(tmp_path / "run", checkpoint=False)
    assert begun_anew(out) == [f"{out} has no checkpoint: the run begins anew, and its log of 8 steps goes"]
    assert begun_anew(tmp_path / "nowhere") == []
    called = write_recipe(tmp_path), make_shards(tmp_path), out
    before = (out / "log.jsonl").read_bytes()
    refused = train(*called)
    assert refused.returncode == 2 and (out / "log.jsonl").read_bytes() == before
    assert f"error: {out} holds the log of 8 steps, and no checkpoint" in refused.stderr
    checked = train(*called, "--resume", "auto", "--dry-run")
    assert checked.returncode == 0, checked.stderr
    assert "the run begins anew, and its log of 8 steps goes" in checked.stderr
    assert (out / "log.jsonl").read_bytes() == before
