"""The model card says what was measured, and says so where a promise is not kept."""

import copy
import re
from pathlib import Path

import pytest
from training.attributes import CAPTIONED, FREE, IDENTITY, JUDGED
from training.card import FRAMES, GATES, PAGES, card
from training.card_words import CHINESE
from training.measure import STRENGTHS, Subject, portraits_of, prompt_of, subjects

from loralathe.demo.settings import DIRECTIONS

SETTINGS = {"strength": 0.9, "steps": 12, "count": 120, "last": 64, "m_towards": 0.7, "m_away": 0.2}


@pytest.fixture
def measured():
    numbers = {"settings": SETTINGS, "blocks": {"separated": 7.0}}
    for block in ("BASE", "IN04"):
        numbers["blocks"] |= {block: 5.0, f"{block} low": 4.0, f"{block} high": 6.0}
    for direction, _, _ in DIRECTIONS:
        numbers["blocks"][f"kept {direction}"] = 0.25
    row = {"pictures": 120, "prompt": 0.961, "prompt ±": 0.01, "identity": 0.972, "identity ±": 0.02}
    row |= dict.fromkeys(CAPTIONED, 0.9) | {f"trait {name}": 0.97 for name in (*IDENTITY, "outfit")}
    row |= {"changed %": 12.0, "changed % ±": 1.0}
    numbers |= {"clean": dict.fromkeys(JUDGED, 0.999), "reconstructed": dict.fromkeys(JUDGED, 0.98)}
    return numbers | {subject.name: dict(row) for subject in subjects()}


def test_every_promise_is_answered(measured):
    page = card(measured)
    assert page.count("| yes |") == len(GATES)
    assert "**no**" not in page
    assert not re.search(r"\{\w*\}", page)
    for text in (
        "`hina` on A at 0.7",
        "97.2 ± 2.0",
        "final model, away from A",
        "| uniform |",
        "| IN04 | 5.0 % |",
    ):
        assert text in page


def test_a_broken_promise_is_not_hidden(measured):
    worse = copy.deepcopy(measured)
    worse["base A"]["prompt"] = 0.899
    page = card(worse)
    assert page.count("**no**") == 1
    assert "| base A shows what captions say | 90.0 % | 89.9 % | **no** |" in page


def test_tables_have_as_many_cells_as_heads(measured):
    for table in re.findall(r"(?:^\|.*\n)+", card(measured), re.MULTILINE):
        widths = {line.count("|") for line in table.splitlines()}
        assert len(widths) == 1, table


def test_the_chinese_card_has_the_same_numbers_in_the_same_places(measured):
    again = copy.deepcopy(measured)
    again["base A"]["prompt"] = 0.8
    english, chinese = (card(measured, again, language) for language in FRAMES)
    cells = [
        [
            re.sub(r"[^\d.±%–-]", "", cell)
            for line in text.splitlines()
            if line[:1] == "|"
            for cell in line.split("|")
        ]
        for text in (english, chinese)
    ]
    assert cells[1] == cells[0]
    assert not re.search(r"\{\w*\}", chinese)
    assert chinese.count("| 是 |") == english.count("| yes |")
    assert chinese.count("| **否** |") == english.count("| **no** |") == 1
    assert "還沒有做過" in card(measured, language="zh-TW")


def test_the_pages_that_ship_use_the_words_of_the_cards():
    docs = Path(__file__).resolve().parents[2] / "docs"
    english, chinese = ((docs / name).read_text(encoding="utf-8") for name in PAGES.values())
    for text, other in CHINESE.items():
        if "{}" not in text and f"| {text} |" in english:
            assert f"| {other} |" in chinese, text


def test_a_missing_measurement_is_an_error(measured):
    del measured["base B"]
    with pytest.raises(KeyError, match="base B"):
        card(measured)


def test_all_strengths_of_a_lora_share_prompts_and_the_free_attributes_alone_are_said():
    hina = [subject for subject in subjects() if subject.name.startswith("hina on A")]
    assert [subject.strength for subject in hina] == list(STRENGTHS)
    assert len({tuple(portraits_of(subject, 5)) for subject in hina}) == 1
    portrait = portraits_of(hina[0], 1)[0]
    said = prompt_of(hina[0], portrait).split(", ")
    assert said[0] == "hina"
    assert len(said) == 1 + len(FREE)
    without = Subject("x", "y", trigger="portrait")
    assert portraits_of(without, 1) == [portrait]
    assert prompt_of(without, portrait).split(", ")[1:] == said[1:]


def test_a_second_training_is_compared(measured):
    again = copy.deepcopy(measured)
    again["base A"]["prompt"] = 0.8
    page = card(measured, again)
    assert "| base A: what captions say | 96.1 ± 1.0 | 80.0 ± 1.0 | **no** |" in page
    assert "| base B: what captions say | 96.1 ± 1.0 | 96.1 ± 1.0 | yes |" in page
    assert "not been tried" in card(measured)
