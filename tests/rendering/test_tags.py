"""`<lora:…>` tags: every spelling people use, and one bad tag that leaves the rest alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loralathe.rendering.prompts import lift_tags
from loralathe.strengths import AdapterUse, tag_text


def read(body: str) -> AdapterUse:
    tagged = lift_tags(f"a <lora:{body}> b")
    assert tagged.prompt == "a  b"
    assert not tagged.issues
    (use,) = tagged.adapters
    return use


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("n", AdapterUse("n")),
        ("n:0.8", AdapterUse("n", 0.8, 0.8)),
        ("n:0.8:0.5", AdapterUse("n", 0.8, 0.5)),
        ("n: 0.5 ", AdapterUse("n", 0.5, 0.5)),
        ("n:-0.7:lbw=ALL", AdapterUse("n", -0.7, -0.7, "ALL")),
        ("n:lbw=ALL", AdapterUse("n", 1, 1, "ALL")),
        ("n:lbw=ALL:0.5", AdapterUse("n", 0.5, 0.5, "ALL")),
        ("n:1:0.5:lbw=ALL", AdapterUse("n", 1, 0.5, "ALL")),
        ("n:1:unet=0.2", AdapterUse("n", 1, 0.2)),
        ("n:unet=0.2", AdapterUse("n", 1, 0.2)),
        ("n:0.8:te=0", AdapterUse("n", 0, 0.8)),
        ("n:te=0:lbw=ALL", AdapterUse("n", 0, 1, "ALL")),
        ("n:1:ALL", AdapterUse("n", 1, 1, "ALL")),
        ("n:1:1:IN02", AdapterUse("n", 1, 1, "IN02")),
        ("n:1:IN04=0.3,OUT00=1", AdapterUse("n", 1, 1, "IN04=0.3,OUT00=1")),
        ("n:0.5:lbw=P:0.7", AdapterUse("n", 0.5, 0.5, "P", x=0.7)),
        ("n:1:lbw=P:x=0.7", AdapterUse("n", 1, 1, "P", x=0.7)),
        ("n:1:w=IN", AdapterUse("n", 1, 1, "IN")),
        ("n:1:lbw=P:lbwe=Q", AdapterUse("n", 1, 1, "P", "Q")),
        ("n:1:stop=1", AdapterUse("n", stop=1)),
        ("n:1:start=5:stop=9", AdapterUse("n", start=5, stop=9)),
        ("n:1:step=3-10", AdapterUse("n", start=3, stop=10)),
        ("n:1:step=-10", AdapterUse("n", stop=10)),
        ("n:1:1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1", AdapterUse("n", blocks="1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1")),
    ],
)
def test_spellings(body: str, expected: AdapterUse) -> None:
    assert read(body) == expected


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "names no adapter"),
        ("n:", "is empty"),
        ("n:te=x", "'x' is not a number"),
        ("n:te=nan", "'nan' is not a"),
        ("n:stop=0.5", "is not a whole number"),
        ("n:step=5", "write step=A-B"),
        ("n:lwb=ALL", "did you mean 'lbw'"),
        ("n:1:1:1:1", "one number too many"),
        ("n:0@0,1@0.5", "start= and stop="),
        ("n:1:dyn=4", "resize the file"),
        ("n:lbw=", "has no value"),
    ],
)
def test_one_bad_tag_leaves_the_rest_alone(body: str, said: str) -> None:
    tagged = lift_tags(f"x <lora:{body}>, <lora:good:0.5> y")
    assert tagged.prompt == "x ,  y"
    assert tagged.adapters == (AdapterUse("good", 0.5, 0.5),)
    (issue,) = tagged.issues
    assert said in str(issue)
    assert 8 <= issue.position <= 8 + len(body)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("<lora：hina：0.7>", "<lora:hina:0.7>"),
        ("＜lora:hina:０.７＞", "<lora:hina:0.7>"),
        ("<lora:hina：0.7>", "<lora:hina:0.7>"),
        ("（smiling：1.2）", "(smiling:1.2)"),
    ],
)
def test_full_width_tags_and_weights_are_remarked_on(wide: str, narrow: str) -> None:
    (issue,) = lift_tags(f"雛，{wide}").issues
    assert issue.position == 2
    assert issue.message.endswith(f"write {narrow}")


def test_full_width_text_is_text() -> None:
    assert lift_tags("雛，微笑（森林），「夜：2」 <lora:雛（二）:1>").issues == ()


def test_tags_of_other_words_and_unclosed_ones() -> None:
    tagged = lift_tags("a <hypernet:h:1> <lora:x b <lyco:z:1>")
    assert tagged.prompt == "a  <lora:x b "
    assert [use.file for use in tagged.adapters] == ["z"]
    assert [issue.position for issue in tagged.issues] == [2, 17]
    assert lift_tags("1 < 2 and <b:").prompt == "1 < 2 and <b:"


numbers = st.floats(-4, 4, allow_nan=False).map(lambda v: round(v, 3) + 0.0)
steps = st.none() | st.integers(0, 50)


@given(
    st.builds(
        AdapterUse,
        file=st.text("abcXYZ09_- ", min_size=1).map(str.strip).filter(bool),
        te=numbers,
        unet=numbers,
        blocks=st.none() | st.sampled_from(["ALL", "1,0,0.5", "IN04=0.3,*=0"]),
        elements=st.none() | st.just("DEEP"),
        start=steps,
        stop=steps,
        x=st.none() | numbers,
    )
)
def test_spelling_a_tag_and_reading_it_are_inverse(use: AdapterUse) -> None:
    assert lift_tags(tag_text(use)).adapters == (use,)
