"""Fixtures of the studies tests."""

from __future__ import annotations

import pytest

from studies.fakes import FakeRenderer


@pytest.fixture
def renderer() -> FakeRenderer:
    return FakeRenderer()
