"""A package imports only from packages above it (ARCHITECTURE.md), and never in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "loralathe"
ORDER = [
    "errors", "progress", "tensorfiles", "families", "strengths", "lowrank", "adapters", "language", "engine",
    "inspection", "verification", "rendering", "studies", "api", "demo", "workshop", "cli", "integrations",
]  # fmt: skip


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return sorted(
        p
        for p in PACKAGE.rglob("*.py")
        if p.relative_to(PACKAGE).parts[0] not in ("__init__.py", "__main__.py")
    )


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a module names in any import, inside functions too."""
    rooms: set[str] = set()
    package = ["loralathe", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{stem}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "loralathe" and len(parts) > 1 and parts[1] in ORDER:
                rooms.add(parts[1])
    return rooms


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_upwards(path: Path) -> None:
    room = room_of(path)
    assert room in ORDER, f"{room} is not in ARCHITECTURE.md's list of rooms"
    below = {other for other in imported_rooms(path) if ORDER.index(other) > ORDER.index(room)}
    assert not below, f"{path.name} in {room} imports from {below}, which lie below it"


def test_the_walk_sees_relative_and_absolute_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "engine").mkdir()
    module = tmp_path / "engine" / "x.py"
    module.write_text(
        "from loralathe.lowrank import svd\nfrom ..cli import main\nimport loralathe.workshop.app\n"
    )
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    assert imported_rooms(module) == {"lowrank", "cli", "workshop"}
