"""Figures of the structure of a checkout: `python -m benchmarks.structure [--repo DIR] [--json FILE]`.

All is read from the source without running it, but for the last figure. Counted are:

- files and lines of `src/loralathe` (Python only), the median of a file's lines, and the share of lines of
  each top-level package; a module beside the packages, such as `errors.py`, stands for itself;
- circles between files: groups of files each of which imports, over others, all others. Every import
  statement counts, inside functions and under `TYPE_CHECKING` too; modules named only by a string do not, nor
  do the parent packages that Python loads on the way. `as written`: a name imported from a package is an edge
  to its `__init__.py`. `resolved inside`: so only from outside that package; a file inside it has an edge to
  the module that defines the name;
- names imported past a package's face: from a module of another top-level package and not from its
  `__init__.py`, each name of each statement once. For the command line apart: every name that it imports
  from loralathe and not from the faces of `loralathe`, `loralathe.demo` and `loralathe.workshop`;
- flags of the command line (`--like-this`) in string literals outside `cli/`, docstrings left out; those in
  `raise` statements and in calls of errors are counted apart;
- functions on the way of `lathe merge A L`, by a profiler in all threads, over a tiny SD 1.5 checkpoint and
  LoRA: how many named functions of `src/loralathe` are called, in how many files, and how deep their frames
  lie in one another (frames of other packages between them not counted, each thread by itself). Module
  bodies, comprehensions, generator expressions, lambdas and generated methods do not count, nor do functions
  that run while a module is imported; the figures with each of these are told beside them.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent.parent
PACKAGE = "loralathe"
FACES_OF_THE_COMMAND_LINE = (PACKAGE, f"{PACKAGE}.demo", f"{PACKAGE}.workshop")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


@dataclass(frozen=True)
class Imported:
    """One name of one import statement: `from module import name`, or `import module` with no name."""

    module: str
    name: str | None
    line: int


@dataclass
class Source:
    """A file of the package: its dotted name, its tree, what it imports and what it binds by imports."""

    name: str
    path: Path
    is_package: bool
    lines: int
    tree: ast.Module
    imports: list[Imported] = field(default_factory=list)

    @property
    def top(self) -> str:
        """The top-level package, or the module beside the packages; `loralathe` for its own face."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else PACKAGE


def read_sources(repo: Path) -> dict[str, Source]:
    """Dotted name → file, of all Python files of the package."""
    root = repo / "src"
    sources = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        parts = list(path.relative_to(root).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        source = Source(name, path.relative_to(root), is_package, len(text.splitlines()), ast.parse(text))
        source.imports = list(imports_of(source))
        sources[name] = source
    return sources


def imports_of(source: Source) -> Iterator[Imported]:
    """All imports of loralathe's own modules, wherever in the file they stand."""
    package = source.name.split(".") if source.is_package else source.name.split(".")[:-1]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    yield Imported(alias.name, None, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module.split(".")[0] == PACKAGE:
                for alias in node.names:
                    yield Imported(module, alias.name, node.lineno)


def target(sources: Mapping[str, Source], found: Imported) -> str | None:
    """The file that an import names: a submodule where the name is one, else the module itself."""
    if found.name is not None and f"{found.module}.{found.name}" in sources:
        return f"{found.module}.{found.name}"
    return found.module if found.module in sources else None


def definer(sources: Mapping[str, Source], module: str, name: str, seen: frozenset[str] = frozenset()) -> str:
    """The module that defines a name of a package's face: the faces' own imports are followed."""
    source = sources[module]
    if not source.is_package or module in seen:
        return module
    for found in source.imports:
        if found.name == name and found.module in sources:
            if f"{found.module}.{name}" in sources:
                return f"{found.module}.{name}"
            return definer(sources, found.module, name, seen | {module})
    return module


def edges(sources: Mapping[str, Source], *, resolve_inside: bool) -> dict[str, set[str]]:
    """File → files that it imports."""
    graph: dict[str, set[str]] = {name: set() for name in sources}
    for name, source in sources.items():
        for found in source.imports:
            to = target(sources, found)
            if to is None:
                continue
            inside = name == to or name.startswith(f"{to}.")
            if resolve_inside and inside and sources[to].is_package and found.name is not None:
                to = definer(sources, to, found.name)
            if to != name:
                graph[name].add(to)
    return graph


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one file, the largest first (Tarjan's way)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for to in sorted(graph[node]):
            if to not in order:
                visit(to)
                low[node] = min(low[node], low[to])
            elif to in stack:
                low[node] = min(low[node], order[to])
        if low[node] == order[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    sys.setrecursionlimit(10_000)
    for node in sorted(graph):
        if node not in order:
            visit(node)
    return sorted(found, key=lambda group: (-len(group), group))


def past_faces(sources: Mapping[str, Source]) -> dict[str, list[str]]:
    """Importing package → what it imports from inside another top-level package, as `file:line what`."""
    found_in: dict[str, list[str]] = defaultdict(list)
    for source in sources.values():
        for found in source.imports:
            to = target(sources, found) or found.module
            parts = to.split(".")
            if len(parts) > 2 and parts[1] != source.top:
                found_in[source.top].append(spelled(source, found))
    return dict(sorted(found_in.items(), key=lambda item: (-len(item[1]), item[0])))


def beside_faces(sources: Mapping[str, Source]) -> list[str]:
    """What the command line imports from loralathe otherwise than from the faces meant for it."""
    found_in = []
    for source in sources.values():
        if source.top != "cli":
            continue
        for found in source.imports:
            to = target(sources, found) or found.module
            if to not in FACES_OF_THE_COMMAND_LINE and to.split(".")[1] != "cli":
                found_in.append(spelled(source, found))
    return found_in


def spelled(source: Source, found: Imported) -> str:
    name = f"{found.module}.{found.name}" if found.name else found.module
    return f"{source.path}:{found.line} {name}"


def flags(sources: Mapping[str, Source]) -> tuple[list[str], list[str]]:
    """Flags in string literals outside `cli/`, as `file:line flag`: outside errors, and in errors."""
    plain: list[str] = []
    in_errors: list[str] = []
    for source in sources.values():
        if source.top == "cli":
            continue
        for text, line, in_error in strings(source.tree, False):
            places = in_errors if in_error else plain
            places.extend(f"{source.path}:{line} {flag}" for flag in FLAG.findall(text))
    return plain, in_errors


def strings(node: ast.AST, in_error: bool) -> Iterator[tuple[str, int, bool]]:
    """String literals with their lines and whether an error is raised or made of them; no docstrings."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value, node.lineno, in_error
    in_error = in_error or isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and makes_error(node))
    for child in ast.iter_child_nodes(node):
        yield from strings(child, in_error)


def makes_error(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name.endswith("Error")


def entry_point(repo: Path) -> str:
    """`module:function` of the command `lathe`, as the checkout's pyproject.toml names it."""
    found = re.search(
        r'^lathe = "([\w.:]+)"', (repo / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    if found is None:
        raise SystemExit(f"{repo / 'pyproject.toml'} names no command lathe")
    return found[1]


def profile(repo: Path) -> dict[str, Any]:
    """The way of `lathe merge A L` in the checkout, over tiny files that this checkout's tests make."""
    sys.path.insert(0, str(HERE / "tests"))
    from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors

    with tempfile.TemporaryDirectory(prefix="loralathe-structure-") as name:
        folder = Path(name)
        write_safetensors(folder / "A.safetensors", tiny_checkpoint("sd1", seed=1, width_divisor=32))
        lora = tiny_lora("sd1", rank=4, alpha=2, seed=5, width_divisor=32)
        write_safetensors(folder / "L.safetensors", lora)
        result = folder / "profile.json"
        surroundings = {
            **os.environ,
            "PYTHONPATH": str(repo / "src"),
            "LORALATHE_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        words = ["merge", "A.safetensors", "L.safetensors"]
        script = str(Path(__file__).resolve())
        command = [sys.executable, script, "--profiled", str(result), entry_point(repo), *words]
        done = subprocess.run(
            command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"lathe merge failed in {repo}:\n{done.stderr}")
        read: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return read


class Called(NamedTuple):
    """A function that was called: its file within the package, its first line and its name."""

    file: str
    line: int
    name: str

    @property
    def is_named(self) -> bool:
        return not self.name.startswith("<")


def profiled(result: Path, entry: str, words: list[str]) -> None:
    """In a process of its own: run the command under the profiler and write what was called."""
    import importlib.util

    del sys.path[0]  # the folder of this file
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    inside = str(Path(spec.origin).parent) + os.sep
    called: set[Called] = set()
    called_by_imports: set[Called] = set()
    local = threading.local()
    deepest: list[str] = []
    deepest_frames = 0

    def watch(frame: FrameType, event: str, _: object) -> None:
        nonlocal deepest, deepest_frames
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(inside):
            return
        way: list[Called] = local.__dict__.setdefault("way", [])
        if event == "return":
            if way:
                way.pop()
            return
        here = Called(code.co_filename.removeprefix(inside), code.co_firstlineno, code.co_name)
        way.append(here)
        if any(other.name == "<module>" for other in way):
            if here.is_named:
                called_by_imports.add(here)
            return
        if here.is_named:
            called.add(here)
        deepest_frames = max(deepest_frames, len(way))
        named = [f"{other.file}:{other.name}" for other in way if other.is_named]
        if len(named) > len(deepest):
            deepest = named

    module, _, function = entry.partition(":")
    main = getattr(importlib.import_module(module), function)
    sys.argv = ["lathe", *words]
    threading.setprofile(watch)
    sys.setprofile(watch)
    exit_code: object = 0
    try:
        main()
    except SystemExit as end:
        exit_code = end.code
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if exit_code:
        raise SystemExit(exit_code)
    files = Counter(function.file for function in called)
    with_imports = called | called_by_imports
    result.write_text(
        json.dumps(
            {
                "functions": len(called),
                "files": len(files),
                "depth": len(deepest),
                "functions with those of imports": len(with_imports),
                "files with those of imports": len({function.file for function in with_imports}),
                "depth with lambdas and comprehensions": deepest_frames,
                "deepest": deepest,
                "functions per file": dict(sorted(files.items(), key=lambda item: (-item[1], item[0]))),
            }
        ),
        encoding="utf-8",
    )


def measure(repo: Path) -> dict[str, Any]:
    """All figures of a checkout."""
    sources = read_sources(repo)
    lines = sum(source.lines for source in sources.values())
    per_package: Counter[str] = Counter()
    files_of: Counter[str] = Counter()
    for source in sources.values():
        per_package[source.top] += source.lines
        files_of[source.top] += 1
    outside_errors, in_errors = flags(sources)
    return {
        "files": len(sources),
        "lines": lines,
        "median lines of a file": statistics.median(source.lines for source in sources.values()),
        "packages": {
            name: {"files": files_of[name], "lines": count, "share": round(count / lines, 4)}
            for name, count in per_package.most_common()
        },
        "circles as written": circles(edges(sources, resolve_inside=False)),
        "circles resolved inside": circles(edges(sources, resolve_inside=True)),
        "past faces": past_faces(sources),
        "command line beside its faces": beside_faces(sources),
        "flags outside errors": outside_errors,
        "flags in errors": in_errors,
        "lathe merge A L": profile(repo),
    }


def shown(figures: Mapping[str, Any]) -> Iterator[str]:
    """The figures as lines of text."""
    yield f"{figures['files']} files, {figures['lines']} lines, median {figures['median lines of a file']:g}"
    yield "\nlines per top-level package:"
    for name, package in figures["packages"].items():
        yield f"  {name:<16}{package['lines']:>6}  {package['share']:>6.1%}  {package['files']:>4} files"
    for kind in ("circles as written", "circles resolved inside"):
        groups = figures[kind]
        yield f"\n{kind}: {len(groups)}, of {sum(map(len, groups))} files"
        for group in groups:
            yield f"  {len(group)}: {', '.join(group)}"
    past = figures["past faces"]
    without = sum(len(names) for package, names in past.items() if package != "cli")
    yield f"\nnames imported past a package's face: {without} without cli, {len(past.get('cli', ()))} by cli"
    for package, names in past.items():
        yield f"  {package}: {len(names)}"
        yield from listed(names)
    beside = figures["command line beside its faces"]
    yield f"\nnames that cli imports from elsewhere than its faces: {len(beside)}"
    yield from listed(beside)
    for kind in ("flags outside errors", "flags in errors"):
        yield f"\n{kind} (string literals outside cli/): {len(figures[kind])}"
        yield from listed(figures[kind])
    way = figures["lathe merge A L"]
    yield f"\nlathe merge A L: {way['functions']} functions in {way['files']} files, depth {way['depth']}"
    yield (
        f"  with what runs while modules are imported: {way['functions with those of imports']} functions in "
        f"{way['files with those of imports']} files"
    )
    yield f"  with lambdas and comprehensions: depth {way['depth with lambdas and comprehensions']}"
    yield "  the deepest: " + " > ".join(way["deepest"])


def listed(items: Iterable[str]) -> Iterator[str]:
    return (f"    {item}" for item in items)


def main() -> int:
    if sys.argv[1:2] == ["--profiled"]:
        profiled(Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.structure", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--repo", type=Path, default=HERE, help="the checkout to read (default: this one)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures = measure(options.repo.resolve())
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print("\n".join(shown(figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
