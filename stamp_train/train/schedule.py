"""The learning rate as a pure function of the step, so that no schedule has a state that could be lost."""

from __future__ import annotations

import math

from stamp_schemas.recipe import Optimizer


def learning_rate(settings: Optimizer, step: int, steps: int, schedule: str = "") -> float:
    """The rate of one step of a stage.

    The linear schedule is that of the paper's Table S1: up over the first `warmup` of the steps, then down, so that the
    step after the last would have rate 0. The first step of a warm-up has a rate above 0: a step at 0 teaches nothing.

    Args:
        settings: of the recipe.
        step: of the stage, from 0.
        steps: of the whole stage.
        schedule: of the stage, if it has one of its own.
    """
    warm = math.ceil(settings.warmup * steps)
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    if (schedule or settings.schedule) == "constant":
        return settings.learning_rate
    return settings.learning_rate * (steps - step) / (steps - warm)
