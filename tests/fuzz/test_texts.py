"""Any text at all, in every small language: it means something, or an InputError says why not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loralathe.errors import InputError
from loralathe.families.sd1 import SD1
from loralathe.families.sdxl import SDXL
from loralathe.language import make_recipe, read_recipe
from loralathe.rendering.infotext import read_infotext
from loralathe.rendering.prompts import lift_tags, plan_prompt
from loralathe.strengths import (
    parse_block_weights,
    parse_elements,
    parse_floats,
    parse_ints,
    parse_texts,
    read_argument,
)

quick = settings(deadline=None, max_examples=max(150, settings().max_examples))


def near(*words: str) -> st.SearchStrategy[str]:
    """Texts of these words, in any order, with anything in between now and then."""
    word = st.one_of(st.sampled_from(words), st.sampled_from(words), st.text(max_size=3))
    return st.one_of(st.text(max_size=60), st.lists(word, max_size=12).map("".join))


FORMULAS = near(
    "A", "B", "lora", "M", "+", "-", "*", "@", "(", ")", ",", "=", " ", "0.7", "extract", "rank", "'", '"'
)
BLOCKS = near("BASE", "IN04", "MID", "OUT11", "ALL", "=", ",", "-", "*", "0.5", "1", "R", "NOT ", " ", "?")
SPECS = near("lora", ".safetensors", ":", "0.7", "te", "unet", "lbw", "lbwe", "=", "ALL", ",", "IN04", "attn")
RULES = near("IN04", "OUT03-OUT05", ":", ",", "attn", "attn2.to_k", "NOT ", "0.5", "BASE", "\n")
PROMPTS = near(
    "a", "(", ")", "[", "]", ":", "|", "AND", "BREAK", "<lora:", ">", "0.5", "x", "\\", ",", " ", "\n"
)
VALUES = near("0", "1", "-", "..", ",", "(+0.25)", "[5]", "(", ")", '"', " ", "0.5", "1e3", "-1")
TOML = near(
    "[steps]", "[inputs]", "[save]", "[variables]", "\n", "A", "=", '"', "{", "}", "1", "file", "A + B", "'''"
)
INFO = near(
    "Steps: 20",
    ", ",
    "\n",
    "Negative prompt: ",
    "Size: 8x8",
    "Seed: 1",
    "CFG scale: 7",
    '"',
    ":",
    "Sampler: Euler",
)


@quick
@given(FORMULAS)
def test_formulas(text: str) -> None:
    with suppress(InputError):
        made = make_recipe(inputs={name: Path(name) for name in ("A", "B", "lora")}, steps={"out": text})
        assert made.texts["out"] == text


@quick
@given(BLOCKS, st.sampled_from([SD1, SDXL]))
def test_block_lists(text: str, family: object) -> None:
    with suppress(InputError):
        weights = parse_block_weights(text, family)  # type: ignore[arg-type]
        assert parse_block_weights(str(weights), family) == weights  # type: ignore[arg-type]


@quick
@given(SPECS)
def test_adapter_specs(text: str) -> None:
    with suppress(InputError):
        spec = read_argument(text, exists=lambda path: False)
        assert text.startswith(str(spec.path)[:1]) or str(spec.path) == "."


@quick
@given(RULES)
def test_element_rules(text: str) -> None:
    with suppress(InputError):
        assert parse_elements(text, SD1)


@quick
@given(PROMPTS, st.integers(1, 30))
def test_prompts(text: str, steps: int) -> None:
    """A prompt is never refused: what cannot be read is an issue with its place."""
    tagged = lift_tags(text)
    plan = plan_prompt(tagged.prompt, steps)
    assert plan.parts
    assert all(0 <= issue.position <= len(text) for issue in tagged.issues)


@quick
@given(VALUES)
def test_axis_values(text: str) -> None:
    for parse in (parse_floats, parse_ints, parse_texts):
        with suppress(InputError):
            assert len(parse(text)) < 100_000


@quick
@given(text=TOML)
def test_recipes(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    with suppress(InputError):
        read_recipe(file)


@quick
@given(INFO)
def test_infotexts(text: str) -> None:
    """Any text can be read: what is not infotext is all prompt."""
    reading = read_infotext(text)
    assert len(reading.entries) == 0 or len(reading.entries) >= 3
