"""docs/merge-methods.md: a section for every function, and every example can be planned as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from loralathe.cli.app import lathe
from loralathe.language import functions

DOCS = Path(__file__).resolve().parents[2] / "docs" / "merge-methods.md"
TEXT = DOCS.read_text(encoding="utf-8")
EXAMPLES = [
    line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S) for line in block.strip().splitlines()
]


OTHERS = {"extract", "combine", "resize", "fp16", "bf16"}
"""Functions that docs/loras.md and docs/semantics.md explain."""


@pytest.mark.parametrize("name", sorted(functions().keys() - OTHERS))
def test_every_function_has_a_section_with_an_example(name):
    headings = [line for line in TEXT.splitlines() if line.startswith("### ")]
    assert any(f"{name}(" in heading for heading in headings)
    assert any(f"{name}(" in example for example in EXAMPLES)


@pytest.mark.long
@pytest.mark.quick(8)
@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_can_be_planned(sd1, example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("A", "B", "C", "lora", "other"):
        (tmp_path / f"{name.lower()}.safetensors").symlink_to(sd1.path(name))
    found = CliRunner().invoke(lathe, [*shlex.split(example)[1:], "--dry-run"])
    assert found.exit_code == 0, found.output
    assert "out.safetensors" in found.output
