"""One English term has one Chinese term, in every text of the catalogue and of the pages."""

from __future__ import annotations

import re
import sys

import pytest

from loralathe.words.catalogue import TABLES, catalogue_files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TERMS = {
    r"(?<!enoising )strengths?": "強度",
    "block weights?": "分層權重",
    "grids?": "對照圖",
    "seeds?": "種子",
    "ranks?": "Rank",
    "likeness": "相像",
    "bleed": "滲染",
    "identity cards?": "身分卡",
    "trigger words?": "觸發詞",
    "judge": "評審",
    "candidates?": "候選",
    "recipes?": "配方",
    "presets?": "預設組",
    "merg(?:e|es|ed|ing)": "融合",
    "extract(?:s|ed|ion|ions|ing)?": "提取",
    "combine": "合成",
    "checkpoints?": "模型",
    "metadata": "中繼資料",
    "prompts?": "提示詞",
    "formula": "公式",
    "tensors?": "張量",
    "modules?": "模組",
    "(?:model )?famil(?:y|ies)": "系列|小模型",
    "factors?": "因子",
    "rounding": "捨入",
    "dtypes?": "型別",
    "samplers?": "取樣器|取樣層",
    "singular values?": "奇異值",
    "folders?": "資料夾|家目錄",
}  # fmt: skip
"""Words of a text → those of its translation. CONTRIBUTING.md lists them for people."""
NOT_WORDS = re.compile(
    r"`[^`]*`|'[^']*'|--[\w-]+|[\w/.-]+\.(?:toml|safetensors|json|csv|md|onnx|html)|lathe [a-z-]+|\w+[=(]"
)
"""Names, options, files, commands and functions."""


def entries() -> list[tuple[str, str]]:
    found = []
    for text in catalogue_files("zh-TW").values():
        data = tomllib.loads(text)
        found += [(english, chinese) for english, chinese in data.items() if english not in TABLES]
    return found


@pytest.mark.parametrize("term", TERMS)
def test_a_term_has_one_translation(term: str) -> None:
    """Or stands there in English, as the name of a command, a field or an option."""
    word = re.compile(rf"(?<![\w.\-\"{{]){term}(?![\w.\-\"=])")
    strangers = []
    for english, chinese in entries():
        found = word.search(NOT_WORDS.sub("", english))
        if found and not re.search(TERMS[term], chinese) and found[0] not in chinese:
            strangers.append((english, chinese))
    assert strangers == []
