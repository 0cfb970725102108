"""A browser that looks at the page which a module serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .serving import Served, Watched


@pytest.fixture
def watched(chromium: Any, served: Served) -> Iterator[Watched]:
    watched = Watched(chromium, served.address)
    yield watched
    watched.close()
