"""A package imports only from packages above it (ARCHITECTURE.md); no files import each other in a circle."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from benchmarks.structure import Source, circles, edges, read_sources, target

REPO = Path(__file__).resolve().parent.parent
ORDER = [
    "version", "lazy", "rounded", "errors", "words", "progress", "commands", "tensorfiles", "families",
    "strengths", "lowrank", "adapters", "language", "engine", "inspection", "verification", "rendering",
    "likeness", "studies", "api", "demo", "workshop", "integrations", "cli",
]  # fmt: skip
FACE = {"loralathe", "loralathe.__main__"}


@cache
def sources_of(repo: Path) -> dict[str, Source]:
    return read_sources(repo)


def packages_below(repo: Path) -> dict[str, set[str]]:
    """Module → packages that it imports from although they lie below its own; inside functions, too."""
    sources = sources_of(repo)
    found: dict[str, set[str]] = {}
    for name, source in sources.items():
        if name not in FACE:
            modules = [target(sources, imported) or imported.module for imported in source.imports]
            # `import loralathe` is the door itself, which stands where `api` does.
            packages = {"api" if module == "loralathe" else module.split(".")[1] for module in modules}
            if below := {other for other in packages if ORDER.index(other) > ORDER.index(source.top)}:
                found[name] = below
    return found


def test_imports_point_upwards():
    assert packages_below(REPO) == {}


def test_every_package_has_a_place_in_the_order():
    assert {source.top for name, source in sources_of(REPO).items() if name not in FACE} <= set(ORDER)


def test_no_files_import_each_other_in_a_circle():
    """Lazy imports and those for type checkers count; a name of one's own package is where it is defined."""
    found = circles(edges(sources_of(REPO), resolve_inside=True))
    assert found == []


def test_relative_absolute_and_lazy_imports_are_seen(tmp_path: Path):
    package = tmp_path / "src" / "loralathe"
    (package / "engine").mkdir(parents=True)
    (package / "engine" / "__init__.py").write_text("from loralathe.engine.x import run\n")
    (package / "engine" / "x.py").write_text(
        "from loralathe.lowrank import svd\nfrom ..cli import main\ndef run():\n    from . import y\n"
    )
    (package / "engine" / "y.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from loralathe.engine import run\n"
    )
    assert packages_below(tmp_path) == {"loralathe.engine.x": {"cli"}}
    graph = edges(read_sources(tmp_path), resolve_inside=True)
    assert circles(graph) == [["loralathe.engine.x", "loralathe.engine.y"]]


def test_the_workshop_is_a_client_of_the_face() -> None:
    """It imports names of `loralathe`, and its own; nothing else of the program."""
    found = {
        f"{source.path}: {one.module}"
        for source in sources_of(REPO).values()
        if source.top == "workshop"
        for one in source.imports
        if one.module != "loralathe" and not f"{one.module}.".startswith("loralathe.workshop.")
    }
    assert not found


def test_the_command_line_is_a_client_of_the_faces() -> None:
    """It imports names of `loralathe`, of the demo, the integrations and the workshop; nothing else."""
    faces = {"loralathe", "loralathe.demo", "loralathe.integrations", "loralathe.workshop"}
    found = {
        f"{source.path}: {one.module}"
        for source in sources_of(REPO).values()
        if source.top == "cli"
        for one in source.imports
        if one.module not in faces and not f"{one.module}.".startswith("loralathe.cli.")
    }
    assert not found


def test_packs_are_clients_of_the_faces() -> None:
    """They are copied into other programs: faces alone, and their own files by relative imports."""
    faces = {"loralathe", "loralathe.integrations", "loralathe.workshop"}
    for file in (REPO / "src/loralathe/integrations").rglob("*.py"):
        for line in file.read_text("utf-8").splitlines():
            words = line.split()
            if words[:1] in (["from"], ["import"]) and words[1].split(".")[0] == "loralathe":
                own = file.parent.name == "integrations" and words[1].startswith("loralathe.integrations.")
                assert words[1] in faces or own, f"{file}: {line}"
