"""A workshop on the tiny family, one for each module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loralathe.demo import unpack_family
from workshop.kit import Workshop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("workshop")
    unpack_family(folder / "models")
    shop = Workshop(folder)
    yield shop
    shop.stop()


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory, shop: Workshop) -> Path:
    """A folder that the workshop has not been given, with a LoRA in it."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret.safetensors").write_bytes((shop.models / "hina.safetensors").read_bytes())
    return folder
