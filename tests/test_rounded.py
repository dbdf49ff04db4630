"""Numbers as people read them: rounded in one place for each language, so that nothing says -0."""

from __future__ import annotations

import json
import re
from pathlib import Path

import loralathe
from browser import asked_of, needs_browser
from loralathe.rounded import fixed, percentage, points, signed, signed_points
from loralathe.studies.study_file import csv_number

SOURCE = Path(loralathe.__file__).parent
PAGES = SOURCE / "studies/page"
NUMBERS = (-1.0, -0.5, -0.04, -0.0004, -0.0, 0.0, 0.0004, 0.04, 0.5, 0.999, 12.34)


def test_what_rounds_to_nothing_has_no_sign() -> None:
    assert [fixed(value, 1) for value in (-0.04, -0.0, 0.04, -0.06)] == ["0.0", "0.0", "0.0", "-0.1"]
    assert [signed(value, 1) for value in (-0.04, -0.0, 0.04, 0.06, -0.06)] == [
        "0.0",
        "0.0",
        "0.0",
        "+0.1",
        "-0.1",
    ]
    assert [points(-0.0004), signed_points(0.0004), signed_points(0.012)] == ["0.0", "0.0", "+1.2"]
    assert [percentage(-0.004), percentage(0.574), percentage(-0.0004, 1)] == ["0 %", "57 %", "0.0 %"]
    assert [csv_number(-0.0), csv_number(None), csv_number(-0.25)] == ["0", "", "-0.25"]


def test_shares_and_differences_are_written_by_one_module() -> None:
    """A format of its own in an f-string, `{100 * share:.1f}` or `{gap:+.1f}`, may say -0."""
    own = re.compile(r"\{100(?:\.0)? \* [^{}]*:[^{}]*f\}|\{[^{}]*:\+[^{}]*[fg]\}")
    found = {
        f"{path.relative_to(SOURCE)}: {one}"
        for path in SOURCE.rglob("*.py")
        for one in own.findall(path.read_text(encoding="utf-8"))
        if path.name not in ("rounded.py",)
    }
    assert found <= {
        "cli/text.py: {100 * share:.2f}",  # of a share that is above 0
        "demo/report/build.py: {100 * picture.score:.0f}",  # a probability
        "api/recipes.py: {multiplier:+g}",  # a part of a file's name, as A1111 writes it
    }


def test_scripts_round_in_one_place() -> None:
    found = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.js")
        if "toFixed" in path.read_text(encoding="utf-8") and path.name != "elements.js"
    ]
    assert found == []


@needs_browser
def test_scripts_write_the_same_as_python(tmp_path: Path) -> None:
    script = re.sub(r"^export ", "", (PAGES / "elements.js").read_text(encoding="utf-8"), flags=re.MULTILINE)
    (tmp_path / "page.html").write_text(f"<body><script>{script}</script></body>", encoding="utf-8")
    asked = f"{json.dumps(NUMBERS)}.map((value) => [fixed(value, 1), signed(value, 1), points(value)])"
    seen = asked_of(tmp_path / "page.html", f"return {{ shown: {asked} }};", 800, 600)
    assert seen["shown"] == [[fixed(value, 1), signed(value, 1), points(value)] for value in NUMBERS]
