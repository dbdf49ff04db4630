"""Commands in Chinese: help, reports, notes and errors hold no English sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.kit import Run
from loralathe.cli.app import command_names

ENGLISH = re.compile(r"\b(?:[A-Za-z]+'?[a-z]* ){2}[a-z]+")
"""Three words in a row."""
EXAMPLE = re.compile(r"lathe [a-z-]+(?: [\w.:-]+)*|^    (?:lathe|      --).*|^  [\w/]+ = .*", re.MULTILINE)
NAMES = ("position id", "prompt s/r", "prompt order", "block id", "Add difference", "multitask prompt tuning")


HALF_WIDTH = re.compile(
    r"'[^'\s]*'|[\u4e00-\u9fff）」] ?[,:;](?=\s)|, (?=\S*[\u4e00-\u9fff])|(?<!,)[a-zA-Z], [a-z]"
)
"""Quotes and commas of English, around Chinese or between names."""
ODD = re.compile(r"no block|\bother\b| × [A-Z]\d\d|\d (?:s|min)\b|million|thousand|=LIST")


@pytest.fixture(autouse=True)
def chinese(monkeypatch: pytest.MonkeyPatch, quiet_surroundings: None) -> None:
    monkeypatch.setenv("LC_ALL", "zh_TW.UTF-8")


def english(text: str) -> list[str]:
    """English sentences of a text, its examples and names left out."""
    for name in NAMES:
        text = text.replace(name, "")
    return ENGLISH.findall(EXAMPLE.sub("", text))


def odd(text: str) -> list[str]:
    """What a person who reads Chinese stumbles over; formulas and commands left out."""
    lines = [line for line in EXAMPLE.sub("", text).splitlines() if "(" not in line]
    return [found[0] for line in lines for rule in (HALF_WIDTH, ODD) for found in rule.finditer(line)]


def test_help(done: Run) -> None:
    pages = [done("--help").stdout, *(done("help", name).stdout for name in command_names())]
    assert [english(page) for page in pages] == [[] for _ in pages]


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inspect", "a.safetensors", "hina.safetensors", "--norms"], "文字編碼器 1"),
        (["merge", "a.safetensors", "hina.safetensors:0.7", "-o", "{out}/m.safetensors"], "個模組使用"),
        (["merge", "a.safetensors", "hina.safetensors:0.7", "--dry-run"], "會寫入"),
        (["extract", "b.safetensors", "a.safetensors", "--rank", "2", "-o", "{out}/l.safetensors"], "建議"),
        (["extract", "b.safetensors", "a.safetensors", "--dry-run", "--size", "1MB"], "會讀取"),
        (
            ["combine", "hina.safetensors", "style.safetensors:0.3:INS", "-o", "{out}/c.safetensors"],
            "沒有損失",
        ),
        (["compare", "a.safetensors", "b.safetensors"], "不同"),
        (["compare", "hina.safetensors", "style.safetensors"], "只有 Y 有"),
        (["blocks", "--weights", "a.safetensors", "hina.safetensors", "style.safetensors"], "有效方向"),
    ],
)
def test_reports(
    done: Run, models: Path, tmp_path: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models)
    result = done(*(word.format(out=tmp_path) for word in words))
    assert said in result.output
    assert english(result.output) == []
    assert odd(result.output) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["megre"], "沒有「megre」這個指令；是不是要寫「merge」？"),
        (["merge", "a.safetensors"], "缺少參數「LoRA…」"),
        (["inspect", "--hahs", "a.safetensors"], "是不是要寫「--hash」或「--threads」？"),
        (["inspect", "aa.safetensors"], "沒有這個檔案"),
        (["merge", "a.safetensors", "hina.safetensors:0.7:NOWHERE"], "沒有名為「NOWHERE」的分層權重"),
        (["merge", "a.safetensors", "b.safetensors"], "這不是 LoRA"),
        (["extract", "a.safetensors", "hina.safetensors"], "這是 LoRA，不是模型"),
        (["extract", "a.safetensors", "b.safetensors", "--rank", "half"], "不是整數"),
        (["resize", "hina.safetensors"], "resize 需要新的大小"),
        (["eval", "A + B", "A=a.safetensors", "B=b.safetensors"], "2 個模型份量的權重"),
        (["eval", "A + (B", "A=a.safetensors"], "這個括號沒有關上"),
        (
            ["eval", "A + hina@'1,2'", "A=a.safetensors", "hina=hina.safetensors"],
            "分層權重「1,2」，被當成兩個權重",
        ),
        (["verify", "a.safetensors"], "檔案沒有記錄它是怎麼做的"),
        (["run", "none.toml"], "沒有這個檔案"),
        (["compare", "a.safetensors", "hina.safetensors"], "LoRA 與模型不能互相比較"),
        (["merge", "a.safetensors", "hina.safetensors", "--memory", "1kB"], "記憶體太少"),
        (["grid", "--x", "seed = 1"], "沒有東西可以畫"),
        (["merge", "a.safetensors", "hina.safetensors", "--te", "high"], "請寫 0.7 這樣的數字"),
        (["merge", "a.safetensors", "hina.safetensors", "--dtype", "fp8"], "不是「source」、「fp16」、"),
        (
            ["merge", "a.safetensors", "hina.safetensors", "--metadata", "b"],
            "first、new、merge、all、none、a",
        ),
        (["merge", "a.safetensors", "hina.safetensors:1:1,2,3"], "適用的清單是 17：BASE"),
        (["eval", "A + ties(A)", "A=a.safetensors"], "第 5 個字元：ties(A)"),
    ],
)
def test_errors(run: Run, models: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models)
    result = run(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert english(result.stderr) == []
    assert odd(result.stderr) == []


def test_files_do_not_change_with_the_language(
    done: Run, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models)
    made = []
    for language in ("en", "zh-TW"):
        monkeypatch.setenv("LC_ALL", language.replace("-", "_"))
        done("merge", "a.safetensors", "hina.safetensors:0.5", "-o", tmp_path / f"{language}.safetensors")
        (tmp_path / f"{language}.safetensors").rename(tmp_path / "made.safetensors")
        made.append((tmp_path / "made.safetensors").read_bytes())
        (tmp_path / "made.safetensors").unlink()
    assert made[0].replace(b"en.safetensors", b"") == made[1].replace(b"zh-TW.safetensors", b"")
