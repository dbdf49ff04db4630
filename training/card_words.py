"""The words of the model card's tables in Chinese; the text around them is `card.template.zh-TW.md`."""

from __future__ import annotations

AGAIN = (
    "A second training from scratch, measured in the same way ({} pictures a row). "
    "The tolerance is {} points."
)
"""Of both cards."""
CHINESE = {
    "yes": "是",
    "**no**": "**否**",
    "base A shows what captions say": "基底 A 畫出提示詞說的內容",
    "base B shows what captions say": "基底 B 畫出提示詞說的內容",
    "`hina` on A at strength 1: identity": "`hina` 在 A 上，強度 1：本人",
    "after the loop, the better sign: identity of the model": "一輪之後，較好的正負號：模型的本人",
    "after the loop, the better sign: identity of the LoRA on B": "一輪之後，較好的正負號：LoRA 在 B 上的",
    "after the loop: what the prompt says, the model": "一輪之後：提示詞說的內容，模型",
    "after the loop: what the prompt says, the LoRA on B": "一輪之後：提示詞說的內容，LoRA 在 B 上",
    "base A: what captions say": "基底 A：提示詞說的內容",
    "base B: what captions say": "基底 B：提示詞說的內容",
    "`hina` on A at 0: identity": "`hina` 在 A 上，強度 0：本人",
    "at {}": "強度 {}",
    "`hina` on A at {}": "`hina` 在 A 上，強度 {}",
    "`hina` on B at {}": "`hina` 在 B 上，強度 {}",
    "`sailor` on A at {}": "`sailor` 在 A 上，強度 {}",
    "after the loop, towards A: identity of the model": "一輪之後，靠近 A：模型的本人",
    "of the LoRA on B": "LoRA 在 B 上的",
    "`hina` on B": "`hina` 在 B 上",
    "extracted LoRA on B": "提取的 LoRA 在 B 上",
    "final model, towards A": "最後的模型，靠近 A",
    "final model, away from A": "最後的模型，遠離 A",
    "final LoRA on B, towards A": "最後的 LoRA 在 B 上，靠近 A",
    "final LoRA on B, away from A": "最後的 LoRA 在 B 上，遠離 A",
    "no LoRA, no trigger": "沒有 LoRA，沒有觸發詞",
    "base {}": "基底 {}",
    "uniform": "單一強度",
    "per block": "分層權重",
    "hair": "髮色",
    "cut": "髮型",
    "eyes": "眼睛",
    "skin": "膚色",
    "expression": "表情",
    "glasses": "眼鏡",
    "hat": "帽子",
    "shirt": "上衣",
    "background": "背景",
    "ornament": "髮飾",
    "outfit": "服裝",
    "drawing": "畫法",
    "It has not been tried yet.": "還沒有做過。",
    AGAIN: "從頭再訓練一次，用同樣的方法測量（每列 {} 張圖）。容許相差 {} 個百分點。",
    "these files": "隨附的檔案",
    "the second training": "第二次訓練",
    "within the tolerance": "在容許範圍內",
}
