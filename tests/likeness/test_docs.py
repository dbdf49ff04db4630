"""The commands of docs/likeness.md run on the demo family, in their order."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from loralathe import read_card, write_settings
from loralathe.cli import lathe
from loralathe.demo import unpack_family
from loralathe.demo.settings import QUICK
from printed import ROOT, commands_in


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    unpack_family(tmp_path)
    write_settings("settings.toml", QUICK.of_pictures(), force=True)
    text = (ROOT / "docs/likeness.md").read_text("utf-8")
    commands = [
        line
        for line in commands_in(text)
        if (line.startswith("lathe") and "settings.toml" in line) or "--study her" in line
    ]
    assert len(commands) == 3
    for command in commands:
        result = CliRunner().invoke(lathe, shlex.split(command)[1:], prog_name="lathe")
        assert result.exit_code == 0, result.output
    assert len(read_card(Path("hina.card")).references) == 4
    assert "bleed" in Path("by-card/means.csv").read_text("utf-8-sig")
