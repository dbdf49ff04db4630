"""What a run must be like, whatever it was given. Every promise is one function: a complaint, or None."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import tomllib

from fuzz.case import Case
from fuzz.sandbox import Contents

GOOD, INPUT, MACHINE = 0, 2, 3
LONGEST = 20_000
"""Characters of an error text: who reads more?"""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What moves the cursor, turns text round, ends a line unseen."""

_FINDINGS = re.compile(r"^\d+ findings?$|^\d+ 個問題$|\"ok\": false", re.MULTILINE)
"""What `verify` says of a file that is not as its record says: no error of ours, but exit code 2."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    code:    exit code; None when the process died or was stopped.
    end:     "" or how the process ended: "hang", "killed by signal 11".
    seen:    forbidden things that it did: programs started, the network, files written elsewhere.
    folder:  where it ran, to look at new files.
    """

    code: int | None
    out: str = ""
    err: str = ""
    end: str = ""
    seen: tuple[str, ...] = ()
    before: Contents | None = None
    after: Contents | None = None
    folder: Path | None = None

    @property
    def bucket(self) -> str:
        """The line of the statistics that it counts for."""
        if self.code == GOOD:
            return "done"
        return {INPUT: "refused", MACHINE: "machine"}.get(self.code or -1, "failed")


def complaint(case: Case, outcome: Outcome) -> str | None:
    """What is wrong with the run; None when it keeps every promise."""
    return next((said for check in PROMISES if (said := check(case, outcome))), None)


def _ends(case: Case, outcome: Outcome) -> str | None:
    return outcome.end or None


def _ends_well(case: Case, outcome: Outcome) -> str | None:
    if outcome.code in (GOOD, INPUT, MACHINE):
        return None
    return f"exit code {outcome.code}: {_last(outcome.err)}"


def _uses_little_memory(case: Case, outcome: Outcome) -> str | None:
    return "memory ran out over a small input" if "not enough memory" in outcome.err else None


def _says_what(case: Case, outcome: Outcome) -> str | None:
    if outcome.code == GOOD or (case.words[0] == "verify" and _FINDINGS.search(outcome.out)):
        return None
    starts = ("lathe: error: ", "lathe: 錯誤：")
    lines = [line for line in outcome.err.splitlines() if line.startswith(starts)]
    if len(lines) != 1 or len(lines[0].removeprefix(starts[0]).removeprefix(starts[1])) < 5:
        return f"{len(lines)} lines say what is wrong: {_last(outcome.err)}"
    return None


def _is_for_people(case: Case, outcome: Outcome) -> str | None:
    text = outcome.out + outcome.err
    for mark in ("Traceback (most recent", "RecursionError", "object at 0x", "maximum recursion"):
        if mark in text:
            return f"'{mark}' in the text"
    control = _CONTROL.search(text)
    if control:
        return f"the control character {control[0]!r} reaches the terminal"
    if len(outcome.err) > LONGEST:
        return f"{len(outcome.err)} characters of errors"
    return None


def _does_nothing_else(case: Case, outcome: Outcome) -> str | None:
    return f"did: {'; '.join(outcome.seen)}" if outcome.seen else None


def _leaves_inputs(case: Case, outcome: Outcome) -> str | None:
    assert outcome.before is not None
    assert outcome.after is not None
    allowed = case.may_change if outcome.code == GOOD else ()
    changed = [
        name
        for name, what in outcome.before.items()
        if outcome.after.get(name) != what and name not in allowed
    ]
    return f"changed: {', '.join(changed)}" if changed else None


def _leaves_nothing_half_done(case: Case, outcome: Outcome) -> str | None:
    assert outcome.before is not None
    assert outcome.after is not None
    new = sorted(set(outcome.after) - set(outcome.before))
    if new and outcome.code != GOOD:
        return f"failed, and left {', '.join(new)}"
    recipes = {file for option, file in pairwise(case.words) if option == "--write-recipe"}
    configs = {name for name in new if name.endswith(".json") and "--layout" in case.words}
    broken = [
        name
        for name in new
        if outcome.after[name] != "folder" and name not in recipes | configs and not _is_whole(outcome, name)
    ]
    return f"left {', '.join(broken)}" if broken else None


def _names_files_without_folders(case: Case, outcome: Outcome) -> str | None:
    """A recipe from a stranger's record."""
    written = [file for option, file in pairwise(case.words) if option == "--write-recipe"]
    if not written or outcome.code != GOOD or "--dry-run" in case.words:
        return None
    assert outcome.folder is not None
    recipe = tomllib.loads((outcome.folder / written[0]).read_text("utf-8"))
    files = [*recipe.get("inputs", {}).values(), *(save["file"] for save in recipe["save"].values())]
    files += [save["vae"] for save in recipe["save"].values() if "vae" in save]
    far = [file for file in files if re.search(r"[/\\]|^\.*$|^\w:", file)]
    return f"the recipe names {far[0]!r}" if far else None


def _is_whole(outcome: Outcome, name: str) -> bool:
    """Judged by the official library, not by ours."""
    from safetensors import SafetensorError, safe_open

    assert outcome.folder is not None
    if not name.endswith(".safetensors"):
        return False
    try:
        with safe_open(str(outcome.folder / name), "pt") as file:
            return bool(file.keys())
    except SafetensorError:
        return False


def _last(text: str) -> str:
    return text.strip()[-300:] or "nothing was said"


PROMISES: tuple[Callable[[Case, Outcome], str | None], ...] = (
    _ends,
    _ends_well,
    _uses_little_memory,
    _says_what,
    _is_for_people,
    _does_nothing_else,
    _leaves_inputs,
    _leaves_nothing_half_done,
    _names_files_without_folders,
)
