"""Masks made better with SAM, as an extra that makes no answer fail.

`load_refiner("sam:PATH")` gives a `Refiner`; docs/refinement.md says where weights come from and what the presets do.
"""

from stamp_train.predict.refine.prompts import PRESETS, Preset
from stamp_train.predict.refine.refiner import Refiner, load_refiner

__all__ = ["PRESETS", "Preset", "Refiner", "load_refiner"]
