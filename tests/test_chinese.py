"""Chinese texts speak as Taiwan does: words that sounded odd there, or come from elsewhere, do not return."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src/loralathe"
PAGES = sorted([
    ROOT / "README.zh-TW.md",
    *(ROOT / "docs").glob("*.zh-TW.md"),
    SOURCE / "demo/report/zh-TW.toml",
    *(SOURCE / "studies/page").glob("*.js"),
    *(SOURCE / "integrations").rglob("*.md"),
    *(SOURCE / "integrations").rglob("nodeDefs.json"),
    *(SOURCE / "words/zh-TW").rglob("*.toml"),
])  # fmt: skip
ODD = [
    "圖表", "箝制", "這一家", "判決", "再繞一圈", "的車床", "偏置", "文件", "數據", "默認",
    "信息", "軟件", "硬件", "內存", "文本", "質量", "優化", "加載", "運行", "屏幕",
    "菜單", "鏈接", "調用", "網絡", "硬盤", "用戶", "打印", "字符", "兼容", "圖像",
    "渲染", "程序", "視頻", "概率", "界面", "正規式", "指令稿", "引數",
    "您", "家族", "調和", "轉接器", "合並", "秩相", "秩會", "的秩", "這個秩", "預設檔", "預設清單",
]  # fmt: skip
"""圖表 → 對照圖, 箝制 → 截斷極端值, 這一家 → 這組小模型, 判決 → 定論, 文件 → 檔案, 內存 → 記憶體,
您 → 你, 家族 → 系列, 秩 → Rank, …"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_words_are_those_of_taiwan(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [word for word in ODD if word in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_marks_after_chinese_are_full_width(page: Path) -> None:
    text = re.sub(r"`[^`]*`", "`", page.read_text(encoding="utf-8"))
    assert re.findall(r".{0,12}[\u4e00-\u9fff][:,;?!](?![^ \n]).{0,4}", text) == []
