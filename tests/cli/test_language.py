"""The command speaks the terminal's language, or that of --lang; what programs read is the same in all."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.kit import Run
from loralathe.cli.app import command_names
from loralathe.cli.language import language_of, take_language
from loralathe.cli.wide import cells, wrapped

CHINESE = "--lang", "zh-TW"


@pytest.mark.parametrize(
    ("named", "language"),
    [
        ({"LANG": "zh_TW.UTF-8"}, "zh-TW"),
        ({"LANG": "zh_Hant_TW"}, "zh-TW"),
        ({"LANG": "zh-hant"}, "zh-TW"),
        ({"LANG": "zh_HK"}, "zh-TW"),
        ({"LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "ja_JP.UTF-8"}, "en"),
        ({"LANG": "zh_TW", "LC_MESSAGES": "C"}, "en"),
        ({"LANG": "C", "LC_MESSAGES": "de_DE", "LC_ALL": "zh_TW"}, "zh-TW"),
        ({"LANG": "zh_TW", "LC_ALL": ""}, "zh-TW"),
        ({}, "en"),
    ],
)
def test_language_of_the_terminal(named: dict[str, str], language: str) -> None:
    assert language_of(named) == language


@pytest.mark.parametrize(
    ("words", "kept", "language"),
    [
        (["--lang", "zh-TW", "help", "merge"], ["help", "merge"], "zh-TW"),
        (["merge", "a", "--lang=ZH-tw", "b"], ["merge", "a", "b"], "zh-TW"),
        (["merge", "--lang", "en"], ["merge"], "en"),
        (["merge", "--lang", "fr"], ["merge", "--lang", "fr"], "en"),
        (["merge", "--", "--lang", "zh-TW"], ["merge", "--", "--lang", "zh-TW"], "en"),
        (["merge", "--lang"], ["merge", "--lang"], "en"),
    ],
)
def test_lang_is_taken_wherever_it_stands(words: list[str], kept: list[str], language: str) -> None:
    assert take_language(words) == (kept, language)


def test_lang_that_is_not_known_is_refused(run: Run) -> None:
    result = run("inspect", "a", "--lang", "fr")
    assert result.exit_code == 2
    assert "'--lang'" in result.stderr


def test_help_follows_the_terminal_and_the_option(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Look at files:" in done("--help").stdout
    chinese = done("--help", *CHINESE).stdout
    assert "查看檔案：" in chinese
    monkeypatch.setenv("LC_ALL", "zh_TW.UTF-8")
    assert done("--help").stdout == chinese
    assert done("--lang", "en", "help").stdout.startswith("Usage:")


@pytest.mark.parametrize("name", command_names())
def test_wide_characters_line_up(done: Run, name: str) -> None:
    lines = done("help", name, *CHINESE).stdout.splitlines()
    assert max(map(cells, lines)) <= 100
    options = [line for line in lines if line.startswith("  -") and "  " in line.strip()]
    starts = {cells(line[: len(line) - len(line.lstrip().split("  ", 1)[1].lstrip())]) for line in options}
    assert len(starts) <= 3, "a column for each section"


def test_lines_end_between_words_and_wide_characters() -> None:
    assert wrapped("把檔案 file.safetensors 裡的 VAE 放進「結果」。", 12) == [
        "把檔案 file.", "safetensors", "裡的 VAE", "放進", "「結果」。",
    ]  # fmt: skip
    assert wrapped("三個字，再來", 7) == ["三個", "字，再", "來"]
    assert wrapped("輸出的檔案。預設：依輸入檔命名，放在第一個輸入檔旁邊。", 40) == [
        "輸出的檔案。預設：依輸入檔命名，", "放在第一個輸入檔旁邊。",
    ]  # fmt: skip
    assert wrapped("指定模型預測的是什麼：epsilon 或 v。", 35) == ["指定模型預測的是什麼：", "epsilon 或 v。"]
    assert wrapped("  kept as it is", 20) == ["  kept as it is"]


@pytest.mark.parametrize("name", ["extract", "grid", "merge", "render", "run"])
def test_no_line_of_help_is_a_character_alone(done: Run, name: str) -> None:
    lines = [line.strip() for line in done("help", name, *CHINESE).stdout.splitlines()]
    assert [line for line in lines if 0 < cells(line) < 8 and not line.endswith(("：", "]"))] == []


def test_notes_and_errors_are_folded_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a command to copy, and nothing where the text goes into a pipe."""
    words = ("merge", "a", "--lora-dir", "/nowhere", "hina:0.7,sailor:0.4,amber:0.3,mio:0.2")
    whole = run(*words).stderr
    monkeypatch.setattr("loralathe.cli.screen.stderr_width", lambda: 60)
    shown = run(*words).stderr
    command = next(line for line in whole.splitlines() if "fix:" in line)
    assert len(command) > 60
    assert command in shown.splitlines()
    assert " ".join(shown.split()) == " ".join(whole.split())
    others = [line for line in shown.splitlines() if line != command]
    assert max(map(cells, others)) <= 60
    assert len(others) > len(whole.splitlines()) - 1


def test_json_and_exit_codes_have_no_language(run: Run, tmp_path: Path) -> None:
    missing = tmp_path / "missing.safetensors"
    english, chinese = (run("inspect", missing, "--json", *words) for words in ((), CHINESE))
    assert english.stdout == chinese.stdout != ""
    assert english.exit_code == chinese.exit_code == 2
    assert chinese.stderr != english.stderr
