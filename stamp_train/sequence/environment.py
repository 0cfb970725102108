"""What libraries would do beside their work: fall over a broken torchvision, and talk.

transformers asks only whether torchvision is installed, then imports it: a build that does not fit torch ("operator
torchvision::nms does not exist") breaks the import of the Qwen2-VL classes, although nothing here needs torchvision.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


def hide_broken_torchvision() -> bool:
    """Make an unusable torchvision look absent before transformers is imported, and say whether there was one."""
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return False
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # whatever a foreign binary raises: RuntimeError, OSError, ImportError, ...
        logger.warning("torchvision is installed but broken (%s); going on without it, as nothing here needs it", error)
        # None in sys.modules is Python's own way to say "not importable"; find_spec then answers None too.
        sys.modules["torchvision"] = None  # type: ignore[assignment]
        return True
    return False


@contextmanager
def unheard(*names: str) -> Iterator[None]:
    """Within it loggers of other libraries warn of nothing; their errors are heard.

    A filter and not a level: transformers decides by the level what it works out.
    """

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    loggers = [logging.getLogger(name) for name in names]
    for one in loggers:
        one.addFilter(is_error)
    try:
        yield
    finally:
        for one in loggers:
            one.removeFilter(is_error)
