"""Files, folders, modules and links that the documentation names exist; every shell takes its commands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from loralathe.cli.app import command_names
from printed import commands_in, fault

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("benchmarks", "docs", "src", "tests", "training")
DEVELOPERS = {ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"}
"""Every path on these pages is one of the repository; other pages name files that commands make, too."""
PAGES = sorted(
    page
    for page in {*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))}
    if ".template." not in page.name  # a page of docs/ when it is filled
)
PATH = re.compile(r"[\w.*<>-]+(?:/[\w.*<>-]+)*/?")


def code(text: str) -> Iterator[str]:
    """What stands between backticks within a line."""
    return (found[1] for found in re.finditer(r"(?<!`)`([^`\n]+)`(?!`)", text))


def is_ours(path: str, page: Path) -> bool:
    """Whether the words name a file or folder of the repository, not one that a command makes."""
    if path.endswith((".py", ".md")) or path.partition("/")[0] in FOLDERS:
        return True
    return page in DEVELOPERS and "/" in path


def exists(path: str, page: Path) -> bool:
    """From the root, the package or the page; a bare name, in any folder; `<family>` and `*` are anything."""
    pattern = re.sub(r"<\w+>", "*", path).rstrip("/")
    if any(next(folder.glob(pattern), None) for folder in (ROOT, ROOT / "src/loralathe", page.parent)):
        return True
    return "/" not in path and any(next((ROOT / folder).rglob(pattern), None) for folder in FOLDERS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_modules_and_links_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = {words for words in code(text) if PATH.fullmatch(words) and is_ours(words, page)}
    assert [path for path in sorted(paths) if not exists(path, page)] == []
    modules = set(re.findall(r"python -m ((?:training|benchmarks|fuzz|robustness)[\w.]*)", text))
    assert [name for name in sorted(modules) if find_spec(name) is None] == []
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text)
    assert [(path, anchor) for path, anchor in links if not leads_somewhere(path, anchor, page)] == []


def leads_somewhere(path: str, anchor: str, page: Path) -> bool:
    """Whether the file of a link is there, with the heading that its anchor stands for."""
    target = page.parent / path if path else page
    if not target.exists():
        return False
    headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M) if anchor else []
    return not anchor or anchor in {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_the_same_in_sh_powershell_and_cmd(page: Path) -> None:
    faults = {line: fault(line) for line in commands_in(page.read_text(encoding="utf-8"))}
    assert {line: found for line, found in faults.items() if found} == {}


def test_commands_of_the_help_are_the_same_in_every_shell() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src/loralathe/cli").rglob("*.py")]
    examples = [line for text in sources for line in re.findall(r"^ +(lathe .*)$", text, re.M)]
    assert len(examples) > 40
    assert {line: found for line in examples if (found := fault(line))} == {}


def test_advice_is_the_same_in_every_shell() -> None:
    """Commands that errors tell people to type, as the source writes them."""
    texts = [
        node.value
        for path in (ROOT / "src/loralathe").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    typed = re.compile(rf"(?:pip|mkdir|lathe (?:{'|'.join(command_names())})) \S.*")
    advice = [text for text in texts if typed.fullmatch(text)]
    assert any(text.startswith("pip install") for text in advice)
    assert {text: found for text in advice if (found := fault(text))} == {}


@pytest.mark.parametrize(
    "command",
    [
        "lathe inspect a.safetensors  # what is in it",
        "lathe grid a.safetensors --x 'hina = 0, 1'",
        "lathe merge a.safetensors hina.safetensors:1,0,0",
        "lathe render a.safetensors \\",
        'lathe grid a.safetensors --y "prompt s/r = \\"a, b\\", c"',
        'lathe render a.safetensors --prompt "wow!"',
        "pip install 'loralathe[render]'",
        "lathe eval A A=…",
    ],
)
def test_what_some_shell_reads_differently_is_found(command: str) -> None:
    assert fault(command)


def test_options_are_written_alike_in_both_languages() -> None:
    pages = [(ROOT / "docs" / f"options{end}").read_text(encoding="utf-8") for end in (".md", ".zh-TW.md")]
    ours = [
        [line.split("|")[2].strip() for line in text.splitlines() if line.startswith("| ")] for text in pages
    ]
    assert [cell for cell in ours[0] if cell != "ours"] == [cell for cell in ours[1] if cell != "這裡的寫法"]
