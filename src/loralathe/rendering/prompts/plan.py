"""Which text guides which step: prompts joined by AND, `[before:after:N]` and `[a|b]`.

AND (Liu et al. 2022, Compositional Visual Generation): `a cat :1.2 AND a dog` are several prompts that guide
one image, each with its weight. Fixed here: a number at the end of a prompt without AND is text (`16:9`
stays), and AND inside brackets is a word.

Schedules: N without a point is a step, N with a point a fraction of all steps (A1111's newer rule). Fixed
here: `[a:b:N]` shows `a` for exactly N steps, alternation starts a, b, a, b, and samplers that evaluate the
network twice a step count steps, not evaluations.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from loralathe.errors import InputError
from loralathe.rendering.prompts.text import Issue, issue_at, parse_emphasis

_AND = re.compile(r"\bAND\b")
_WEIGHTED = re.compile(r"(?P<text>.*?)\s*:\s*(?P<weight>[-+]?(?:\d+\.?\d*|\.\d+))\s*\Z", re.DOTALL)
DEEPEST = 50
"""Brackets inside one another that are read; those further in are plain characters."""
MOST_UNCLOSED = 20
"""After so many brackets that nothing closes, all later ones are plain characters: each is read twice."""
MOST_TEXT = 2_000_000
"""Characters of all the texts that a prompt has in its steps."""
_PLAIN = re.compile(r"[^\\()\[\]:|]+")
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+))\s*\Z")


@dataclass(frozen=True, slots=True)
class PartPlan:
    """One AND part: its weight and its text in every step."""

    weight: float
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PromptPlan:
    """All parts of a prompt over `steps` steps, and what was odd in it."""

    parts: tuple[PartPlan, ...]
    issues: tuple[Issue, ...]

    def distinct_texts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(text for part in self.parts for text in part.texts))


def plan_prompt(prompt: str, steps: int, *, composable: bool = True, after: int = 0) -> PromptPlan:
    """Plan a prompt without tags. A negative prompt is not composable: its AND is a word.

    after: steps of a first pass. In the second one a step N counts from the start of the first, a fraction
    of 1 to 2 is one of the second pass, and alternation starts again (A1111's rule).
    Raises InputError where it changes too often.
    """
    parts, issues = split_parts(prompt) if composable else ((Part(prompt),), [])
    plans = []
    _require_few(parts, steps)
    for part in parts:
        texts, odd = expand_schedule(part.text, steps, after)
        offset = prompt.find(part.text)
        issues += [Issue(issue.position + offset, issue.message, issue.excerpt) for issue in odd]
        plans.append(PartPlan(part.weight, texts))
    plan = PromptPlan(tuple(plans), ())
    for text in plan.distinct_texts():
        for issue in parse_emphasis(text)[1]:
            place = prompt.find(issue.excerpt)
            issues.append(Issue(max(place, 0), issue.message, issue.excerpt))
    return PromptPlan(tuple(plans), tuple(dict.fromkeys(issues)))


def _require_few(parts: tuple[Part, ...], steps: int) -> None:
    if len(parts) * steps > MOST_TEXT:
        raise InputError(
            f"{len(parts):,} prompts joined by AND are too many for {steps:,} steps", fix="use fewer of both"
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One of the prompts joined by AND."""

    text: str
    weight: float = 1.0


def split_parts(prompt: str) -> tuple[tuple[Part, ...], list[Issue]]:
    """The prompts that AND joins; one part of weight 1 when there is no AND."""
    issues: list[Issue] = []
    cuts: list[tuple[int, int]] = []
    words = list(_AND.finditer(prompt))
    depths = _depths(prompt) if words else []
    for match in words:
        if depths[match.start()]:
            issues.append(issue_at(prompt, match.start(), "AND inside brackets is read as a plain word"))
        else:
            cuts.append(match.span())
    if not cuts:
        return (Part(prompt),), issues
    starts = [0, *(end for _, end in cuts)]
    ends = [*(begin for begin, _ in cuts), len(prompt)]
    return tuple(_part(prompt[a:b].strip()) for a, b in zip(starts, ends, strict=True)), issues


def _part(text: str) -> Part:
    weighted = _WEIGHTED.match(text)
    return Part(weighted["text"], float(weighted["weight"])) if weighted else Part(text)


def _depths(text: str) -> list[int]:
    """How many brackets around each place are really closed later; an unclosed one encloses nothing."""
    opened: dict[str, list[int]] = {")": [], "]": []}
    changes = [0] * (len(text) + 1)
    skip = False
    for index, char in enumerate(text):
        if skip or char == "\\":
            skip = not skip
        elif char in "([":
            opened[")" if char == "(" else "]"].append(index)
        elif opened.get(char):
            changes[opened[char].pop() + 1] += 1
            changes[index] -= 1
    return list(accumulate(changes))


@dataclass(frozen=True, slots=True)
class Switch:
    """`before` until step `when` (as written), then `after`."""

    before: Script
    after: Script
    when: str

    def first(self, steps: int, after: int) -> int:
        """The step in which `after` is shown first."""
        value = float(self.when)
        return int((value - bool(after)) * steps) if "." in self.when else int(value) - after

    def chosen(self, step: int, steps: int, after: int) -> Script:
        return self.before if step < self.first(steps, after) else self.after


@dataclass(frozen=True, slots=True)
class Alternation:
    """One option a step, in turn."""

    options: tuple[Script, ...]

    def chosen(self, step: int, steps: int, after: int) -> Script:
        return self.options[step % len(self.options)]


@dataclass(frozen=True, slots=True)
class Script:
    """Text and choices, one after the other."""

    parts: tuple[str | Switch | Alternation, ...] = ()

    def at(self, step: int, steps: int, after: int = 0) -> str:
        """The text in sampler step `step` of `steps`; `after` as for `plan_prompt`."""
        return "".join(
            part if isinstance(part, str) else part.chosen(step, steps, after).at(step, steps, after)
            for part in self.parts
        )


def expand_schedule(prompt: str, steps: int, after: int = 0) -> tuple[tuple[str, ...], list[Issue]]:
    """The text of every step, `steps` long, and what looked like a schedule but is not one."""
    parser = _Parser(prompt)
    sequence = parser.sequence(closers="")
    alike = _alike(sequence, steps, after)
    if (count := len(set(alike))) * len(prompt) > MOST_TEXT:
        raise InputError(
            f"a prompt of {len(prompt):,} characters that changes {count:,} times is too much",
            fix=f"the most is {MOST_TEXT:,} characters in all: take fewer steps, or fewer [a|b] and [a:b:N]",
        )
    known: dict[tuple[int, int], str] = {}
    for step, key in enumerate(alike):
        if key not in known:
            known[key] = sequence.at(step, steps, after)
    return tuple(known[key] for key in alike), parser.issues


def _alike(script: Script, steps: int, after: int) -> list[tuple[int, int]]:
    """A key for every step; steps of equal keys have the same text."""
    period, switches = 1, [0] * (steps + 1)
    for choice in _choices(script):
        if isinstance(choice, Switch):
            switches[min(max(choice.first(steps, after), 0), steps)] = 1
        else:  # longer periods than there are steps need no numbers of hundreds of digits
            period = min(math.lcm(period, len(choice.options)), steps)
    return [(number, step % period) for step, number in enumerate(accumulate(switches[:steps]))]


def _choices(script: Script) -> Iterator[Switch | Alternation]:
    for part in script.parts:
        if isinstance(part, str):
            continue
        yield part
        for inner in part.options if isinstance(part, Alternation) else (part.before, part.after):
            yield from _choices(inner)


class _Parser:
    """Recursive descent. Other brackets stay in the text, for emphasis to read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.issues: list[Issue] = []
        self._depth = 0
        self._unclosed: set[int] = set()
        """Places of brackets that are plain characters. Read again at every level around them, each would
        double the work."""

    def sequence(self, closers: str) -> Script:
        """Reads up to, not over, an unescaped character of `closers` (or the end)."""
        parts: list[str | Switch | Alternation] = []
        self._depth += 1
        readable = self._depth <= DEEPEST
        opening = "[(" if closers else "["
        while self.place < len(self.text):
            char = self.text[self.place]
            if char == "\\" and self.place + 1 < len(self.text):
                parts.append(self.text[self.place : self.place + 2])
                self.place += 2
            elif char in closers:
                break
            elif char in opening and readable and len(self._unclosed) < MOST_UNCLOSED:
                parts.extend(self._square() if char == "[" else self._round())
            else:
                plain = _PLAIN.match(self.text, self.place)
                parts.append(plain[0] if plain else char)
                self.place += len(plain[0]) if plain else 1
        self._depth -= 1
        return Script(_merged(parts))

    def _round(self) -> tuple[str | Switch | Alternation, ...]:
        """`( … )` inside a bracket hides its colons and bars; an unclosed `(` is a plain character."""
        start, known = self.place, len(self.issues)
        self.place += 1
        if start in self._unclosed:
            return ("(",)
        inner = self.sequence(closers=")]")
        if self.place < len(self.text) and self.text[self.place] == ")":
            self.place += 1
            return ("(", *inner.parts, ")")
        self._again_as_text(start, known)
        return ("(",)

    def _square(self) -> tuple[str | Switch | Alternation, ...]:
        start, known = self.place, len(self.issues)
        self.place += 1
        if start in self._unclosed:
            return ("[",)
        parts, marks, begins = [], "", [self.place]
        while True:
            parts.append(self.sequence(closers=":|]"))
            if self.place >= len(self.text):
                self._again_as_text(start, known)
                return ("[",)
            mark = self.text[self.place]
            self.place += 1
            if mark == "]":
                break
            marks += mark
            begins.append(self.place)
        choice = self._choice(parts, marks, self.text[begins[-1] : self.place - 1], start)
        if choice is not None:
            return (choice,)
        literal: list[str | Switch | Alternation] = ["["]
        for number, part in enumerate(parts):
            literal += [*(marks[number - 1] if number else ""), *part.parts]
        return (*literal, "]")

    def _again_as_text(self, start: int, known: int) -> None:
        """A bracket that is never closed is a plain character; what follows it is read again."""
        self._unclosed.add(start)
        self.place = start + 1
        del self.issues[known:]

    def _choice(self, parts: list[Script], marks: str, last: str, start: int) -> Switch | Alternation | None:
        """The schedule that a bracket spells, or None with an issue where one was probably meant."""
        if not marks:
            return None
        if set(marks) == {"|"}:
            return Alternation(tuple(parts))
        number = _NUMBER.match(last)
        if set(marks) == {":"} and number and len(marks) <= 2:
            when = number[1]
            if len(marks) == 1 and "." in when and float(when) > 1:
                message = (
                    f"never shown: it starts at {float(when):.0%} of the steps; emphasis is (text:{when})"
                )
                self.issues.append(issue_at(self.text, start, message))
            before = parts[0] if len(marks) == 2 else Script()
            return Switch(before, parts[-2], when)
        message = "not a schedule: [before:after:step], [after:step] or [a|b]; \\: is a plain colon"
        self.issues.append(issue_at(self.text, start, message))
        return None


def _merged(parts: list[str | Switch | Alternation]) -> tuple[str | Switch | Alternation, ...]:
    merged: list[str | Switch | Alternation] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)
