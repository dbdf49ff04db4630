"""`docs/model-card.md` and its Chinese sister from what was measured: `python -m training.card --measured …`.

Nothing is written by hand but the frames: every number comes from `measurements.json` of `training.measure`,
which looks at the files that ship, as people use them. A word of a table is told in the language of the page
by a `Say`, from English.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from training.attributes import CAPTIONED, IDENTITY
from training.card_words import AGAIN, CHINESE
from training.measure_judge import DRAWINGS

Numbers = Mapping[str, Mapping[str, float]]
Say = Callable[[str], str]
STRENGTHS = ("0", "0.3", "0.5", "0.7", "0.9", "1")


@dataclass(frozen=True)
class Gate:
    """A promise of the family: what was wanted, and what came out."""

    text: str
    wanted: float
    value: Callable[[Numbers], float]

    def row(self, numbers: Numbers, say: Say) -> str:
        """A line of the table; a promise that is not kept says so."""
        value = self.value(numbers)
        kept = say("yes" if value >= self.wanted else "**no**")
        return f"| {say(self.text)} | {_percent(self.wanted)} | {_percent(value)} | {kept} |"


def _of(name: str, key: str) -> Callable[[Numbers], float]:
    return lambda numbers: numbers[name][key]


def _best_final(key: str, what: str) -> Callable[[Numbers], float]:
    ending = " on B" if what == "LoRA" else ""
    return lambda n: max(n[f"final {what} {direction}{ending}"][key] for direction in ("towards", "away"))


GATES = (
    Gate("base A shows what captions say", 0.90, _of("base A", "prompt")),
    Gate("base B shows what captions say", 0.85, _of("base B", "prompt")),
    Gate("`hina` on A at strength 1: identity", 0.95, _of("hina on A at 1", "identity")),
    Gate("after the loop, the better sign: identity of the model", 0.90, _best_final("identity", "model")),
    Gate("after the loop, the better sign: identity of the LoRA on B", 0.90, _best_final("identity", "LoRA")),
    Gate("after the loop: what the prompt says, the model", 0.80, _best_final("prompt", "model")),
    Gate("after the loop: what the prompt says, the LoRA on B", 0.80, _best_final("prompt", "LoRA")),
)

COMPARED = (
    ("base A", "prompt", "base A: what captions say"),
    ("base B", "prompt", "base B: what captions say"),
    ("hina on A at 0", "identity", "`hina` on A at 0: identity"),
    ("hina on A at 0.5", "identity", "at {}"),
    ("hina on A at 1", "identity", "at {}"),
    ("sailor on A at 1", "identity", "`sailor` on A at {}"),
    ("hina on B at 1", "identity", "`hina` on B at {}"),
    ("final model towards", "identity", "after the loop, towards A: identity of the model"),
    ("final LoRA towards on B", "identity", "of the LoRA on B"),
)
TOLERANCE = 0.1
"""Two trainings draw other pictures, and their LoRAs are not equally strong."""

FRAMES = {"en": "card.template.md", "zh-TW": "card.template.zh-TW.md"}
PAGES = {"en": "model-card.md", "zh-TW": "model-card.zh-TW.md"}


def _english(text: str) -> str:
    return text


SPOKEN: Mapping[str, Say] = {"en": _english, "zh-TW": CHINESE.__getitem__}
"""KeyError names a word that the Chinese card lacks."""


def card(measured: Numbers, again: Numbers | None = None, language: str = "en") -> str:
    """The whole page; `again`: measurements of a second training. KeyError names one that is missing."""
    say = SPOKEN[language]
    judged = measured["clean"]
    questions = list(judged)
    ways = {"towards": "towards A", "away": "away from A"}
    loop = [
        ("hina on B at 1", say("`hina` on B")),
        ("extracted on B", say("extracted LoRA on B")),
        *((f"final model {d}", say(f"final model, {way}")) for d, way in ways.items()),
        *((f"final LoRA {d} on B", say(f"final LoRA on B, {way}")) for d, way in ways.items()),
    ]
    loras = [
        ("no trigger on A", say("no LoRA, no trigger")),
        *((f"hina on A at {s}", say("`hina` on A at {}").format(s)) for s in STRENGTHS),
        *((f"hina on B at {s}", say("`hina` on B at {}").format(s)) for s in ("0", "0.7", "1")),
    ]
    return (
        Path(__file__)
        .with_name(FRAMES[language])
        .read_text(encoding="utf-8")
        .format(
            **measured["settings"],
            gates="\n".join(gate.row(measured, say) for gate in GATES),
            judged=DRAWINGS,
            questions=" | ".join(map(say, questions)),
            bars="---|" * len(questions),
            clean=_cells(judged, questions),
            reconstructed=_cells(measured["reconstructed"], questions),
            attributes=" | ".join(map(say, CAPTIONED)),
            attribute_bars="---|" * len(CAPTIONED),
            bases="\n".join(
                f"| {say('base {}').format(base)} | {_cells(found, CAPTIONED)} | {_with(found, 'prompt')} |"
                for base, found in ((base, measured[f"base {base}"]) for base in "AB")
            ),
            traits=" | ".join(map(say, IDENTITY)),
            trait_bars="---|" * len(IDENTITY),
            loras="\n".join([*(_row(measured, *pair) for pair in loras), *_sailor(measured, say)]),
            loop="\n".join(_row(measured, *pair) for pair in loop),
            kept_towards=_percent(measured["blocks"]["kept towards"]),
            kept_away=_percent(measured["blocks"]["kept away"]),
            merges="\n".join(_merge(measured, how, say) for how in ("uniform", "per block")),
            separated=measured["blocks"]["separated"],
            blocks=_blocks(measured["blocks"]),
            again=_again(measured, again, say) if again else say("It has not been tried yet."),
        )
    )


def _again(measured: Numbers, again: Numbers, say: Say) -> str:
    """What two trainings gave, with their 95 % intervals; TOLERANCE is what counts as the same."""
    rows = []
    for name, key, shown in COMPARED:
        rows.append(
            [
                say(shown).format(name.rpartition(" ")[2]),
                _with(measured[name], key),
                _with(again[name], key),
                say(_same(measured, again, name, key)),
            ]
        )
    heads = " | ".join(map(say, ("these files", "the second training", "within the tolerance")))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    text = say(AGAIN).format(f"{again['settings']['count']:.0f}", f"{100 * TOLERANCE:.0f}")
    return "\n".join([text, "", f"| | {heads} |", "|---|---|---|---|", *lines])


def _same(measured: Numbers, again: Numbers, name: str, key: str) -> str:
    return "yes" if abs(measured[name][key] - again[name][key]) <= TOLERANCE else "**no**"


def _row(numbers: Numbers, name: str, shown: str) -> str:
    found = numbers[name]
    traits = _cells(found, [f"trait {trait}" for trait in IDENTITY])
    return f"| {shown} | {_with(found, 'identity')} | {traits} | {_with(found, 'prompt')} |"


def _sailor(numbers: Numbers, say: Say) -> list[str]:
    rows = []
    for strength in ("0", "1"):
        found = numbers[f"sailor on A at {strength}"]
        blank = " | ".join("" for _ in IDENTITY)
        name = say("`sailor` on A at {}").format(strength)
        rows.append(f"| {name} | {_with(found, 'identity')} | {blank} | {_with(found, 'prompt')} |")
    return rows


def _merge(numbers: Numbers, how: str, say: Say) -> str:
    found = numbers[f"merged {how}"]
    changed = f"{found['changed %']:.1f} ± {found['changed % ±']:.1f} %"
    return f"| {say(how)} | {_with(found, 'identity')} | {_with(found, 'prompt')} | {changed} |"


def _blocks(found: Mapping[str, float]) -> str:
    names = [name.removesuffix(" low") for name in found if name.endswith(" low")]
    return "\n".join(
        f"| {name} | {found[name]:.1f} % | {found[f'{name} low']:.1f} – {found[f'{name} high']:.1f} |"
        for name in names
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _with(found: Mapping[str, float], name: str) -> str:
    return f"{100 * found[name]:.1f} ± {100 * found[f'{name} ±']:.1f}"


def _cells(found: Mapping[str, float], names: Iterable[str]) -> str:
    return " | ".join(f"{100 * found[name]:.1f}" for name in names)


def _main() -> None:
    state = Path(os.environ.get("TINYFAM_STATE", "build/tinyfam"))
    parser = argparse.ArgumentParser(prog="python -m training.card", description=__doc__)
    parser.add_argument("--measured", type=Path, default=state / "measured/measurements.json")
    parser.add_argument("--again", type=Path, help="measurements.json of a second training")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the two pages")
    options = parser.parse_args()
    measured = json.loads(options.measured.read_text())
    again = json.loads(options.again.read_text()) if options.again else None
    for language, page in PAGES.items():
        (options.out / page).write_text(card(measured, again, language), encoding="utf-8")


if __name__ == "__main__":
    _main()
