"""Does another checkout still write the same? `python -m benchmarks.identity`.

    python -m benchmarks.identity --repo DIR --out FILE.json     run the commands of a checkout, keep hashes
    python -m benchmarks.identity --compare OLD.json NEW.json    list what differs

The commands of `benchmarks/identity_cases.py` run on tiny files of fixed seeds, which are made once by this
checkout and used again by later runs, so that two results are of the same inputs. Two groups are kept.

Outputs decide the exit code of a comparison:

- the exit code of each command;
- of each safetensors file the names, dtypes, shapes and bytes of its tensors in their order, and apart from
  them its metadata without the record of loralathe;
- of each PNG its pixels; of tables and JSON files what they say, without times and paths; of other files
  their bytes.

Texts are only reported: what the commands print, records in files, recipes, pages, and the text in pictures,
all without times and paths.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import hashlib
import importlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
INPUTS = Path(tempfile.gettempdir()) / "loralathe-identity-inputs"
RECORD = "loralathe"
"""The metadata entry, and the beginning of all entries, that only loralathe's record uses."""
FLEETING = re.compile(
    r"(?i)(^|[_ -])(seconds?|times?|elapsed|date|created|duration|paths?|folders?|version)$"
)
"""Keys of JSON and columns of tables that say when or where."""
TIME_LINE = re.compile(r"^ *(time|seconds) .*\n?", re.MULTILINE)
PROGRESS = ("start", "advance", "end")
"""Events of JSON lines whose number depends on the time that the work takes."""
SHOWN = 12
"""Lines of a text's difference that a comparison shows."""


def file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def inputs_hash(folder: Path) -> str:
    """One hash of all input files and their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return text_hash("\n".join(f"{path.relative_to(folder)} {file_hash(path)}" for path in files))


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def safetensors_facts(path: Path) -> tuple[str, dict[str, str]]:
    """The hash of names, dtypes, shapes and bytes in the header's order, and the metadata."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(size))
        metadata: dict[str, str] = header.pop("__metadata__", {})
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            file.seek(8 + size + start)
            digest.update(f"{name} {entry['dtype']} {entry['shape']} {end - start}\n".encode())
            digest.update(file.read(end - start))
    return digest.hexdigest(), metadata


def lasting(value: Any) -> Any:
    """JSON data without what says when or where."""
    if isinstance(value, dict):
        return {key: lasting(inner) for key, inner in value.items() if not FLEETING.search(key)}
    if isinstance(value, list):
        return [lasting(inner) for inner in value]
    return value


def lasting_text(text: str, work: Path) -> str:
    """A command's text without times and the folder; JSON lines without what says when or where."""
    lines = []
    for line in text.replace(str(work), "WORK").splitlines():
        try:
            found = json.loads(line) if line.startswith("{") else None
        except json.JSONDecodeError:
            found = None
        if found is not None and found.get("event") in PROGRESS:
            continue
        lines.append(line if found is None else json.dumps(lasting(found), ensure_ascii=False, indent=1))
    return TIME_LINE.sub("", "\n".join(lines) + "\n")


def table_text(text: str, work: Path) -> str:
    """A table without the columns that say when or where."""
    rows = list(csv.reader(io.StringIO(text.replace(str(work), "WORK"))))
    kept = [at for at, name in enumerate(rows[0]) if not FLEETING.search(name)] if rows else []
    return "\n".join(repr([row[at] for at in kept if at < len(row)]) for row in rows)


def facts_of(path: Path, work: Path) -> Iterator[tuple[str, str, str]]:
    """What counts of a file: (group, what, value); the value is a hash for outputs, else the text itself."""
    if path.suffix == ".safetensors":
        tensors, metadata = safetensors_facts(path)
        others = {key: text for key, text in sorted(metadata.items()) if not key.startswith(RECORD)}
        record = {key: text for key, text in sorted(metadata.items()) if key.startswith(RECORD)}
        yield "outputs", "tensors", tensors
        yield "outputs", "metadata", text_hash(json.dumps(others))
        yield "texts", "metadata", json.dumps(others, indent=1)
        yield "texts", "record", "\n".join(lasting_text(text, work) for text in record.values())
    elif path.suffix == ".png":
        from PIL import Image

        with Image.open(path) as image:
            pixels = hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()
            text = getattr(image, "text", {})
        yield "outputs", "pixels", pixels
        yield "texts", "text in the picture", json.dumps(dict(text), ensure_ascii=False, indent=1)
    elif path.suffix == ".csv":
        table = table_text(path.read_text(encoding="utf-8-sig"), work)
        yield "outputs", "table", text_hash(table)
        yield "texts", "table", table
    elif path.suffix == ".json":
        found = json.dumps(lasting(json.loads(path.read_text(encoding="utf-8").replace(str(work), "WORK"))))
        yield "outputs", "data", text_hash(found)
        yield "texts", "data", json.dumps(json.loads(found), ensure_ascii=False, indent=1)
    elif path.suffix in (".html", ".toml"):
        yield "texts", "text", path.read_text(encoding="utf-8").replace(str(work), "WORK")
    else:
        yield "outputs", "bytes", file_hash(path)


def run_all(repo: Path, inputs: Path) -> dict[str, Any]:
    """Run every case of the checkout in one process of its own; gather what came of it."""
    from benchmarks.identity_cases import CASES, RECIPES, words_of
    from benchmarks.structure import entry_point

    with tempfile.TemporaryDirectory(prefix="loralathe-identity-") as name:
        work = Path(name).resolve()
        (work / "in").symlink_to(inputs, target_is_directory=True)
        for file, text in RECIPES.items():
            (work / file).write_text(text, encoding="utf-8")
        for case in CASES:
            (work / "out" / case).mkdir(parents=True)
        todo = {case: words_of(case) for case in CASES}
        (work / "cases.json").write_text(json.dumps(todo), encoding="utf-8")
        surroundings = {
            **os.environ,
            "PYTHONPATH": str(repo / "src"),
            "LORALATHE_CACHE": str(work / "cache"),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "100",
            "LC_ALL": "C.UTF-8",
            "PYTHONHASHSEED": "0",
        }
        script = str(Path(__file__).resolve())
        command = [sys.executable, script, "--child", "cases.json", "done.json", entry_point(repo)]
        subprocess.run(command, cwd=work, env=surroundings, check=True)
        done = json.loads((work / "done.json").read_text(encoding="utf-8"))
        if not Path(done["code"]).is_relative_to(repo):
            raise SystemExit(f"{done['code']} was run, which is not in {repo}")
        groups: dict[str, dict[str, str]] = {"outputs": {}, "texts": {}}
        for case, result in done["cases"].items():
            groups["outputs"][f"{case}: exit code"] = str(result["exit code"])
            groups["texts"][f"{case}: printed"] = lasting_text(result["stdout"], work)
            if result["exit code"]:
                groups["texts"][f"{case}: errors"] = lasting_text(result["stderr"], work)
            for path in sorted(p for p in (work / "out" / case).rglob("*") if p.is_file()):
                for group, what, value in facts_of(path, work):
                    groups[group][f"{case}: {path.relative_to(work / 'out' / case)}: {what}"] = value
        seconds = {case: round(result["seconds"], 2) for case, result in done["cases"].items()}
    return {"inputs": inputs_hash(inputs), **groups, "seconds": seconds}


def child(todo: Path, result: Path, entry: str) -> None:
    """In a process of its own, whose path leads to the checkout: each command by the entry point."""
    del sys.path[0]  # the folder of this file
    module, _, function = entry.partition(":")
    main = getattr(importlib.import_module(module), function)
    code = sys.modules[module.partition(".")[0]].__file__
    done: dict[str, Any] = {}
    for case, words in json.loads(todo.read_text(encoding="utf-8")).items():
        out, err = io.StringIO(), io.StringIO()
        start = time.monotonic()
        sys.argv = ["lathe", *words]
        exit_code: object = 0
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                exit_code = end.code or 0
            except Exception as error:  # noqa: BLE001 (a crash of one command is a result as well)
                exit_code = f"{type(error).__name__}: {error}"
        done[case] = {
            "exit code": exit_code,
            "stdout": out.getvalue(),
            "stderr": err.getvalue(),
            "seconds": time.monotonic() - start,
        }
        print(f"{done[case]['seconds']:6.2f} s  {case}  {exit_code or ''}", file=sys.stderr, flush=True)
    result.write_text(json.dumps({"code": code, "cases": done}), encoding="utf-8")


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> int:
    """Print what differs; the exit code."""
    if old["inputs"] != new["inputs"]:
        print("the inputs of the two runs differ: this comparison says nothing")
        return 2
    differing = differences(old["outputs"], new["outputs"])
    for name in differing:
        change = "" if name in old["outputs"] and name in new["outputs"] else " (only in one of the two)"
        print(f"differs: {name}{change}")
    for name in differing:
        texts = [group["texts"].get(name) for group in (old, new)]
        if None not in texts:
            show_difference(name, texts[0], texts[1])
    texts_differing = [name for name in differences(old["texts"], new["texts"]) if name not in differing]
    for name in texts_differing:
        show_difference(name, old["texts"].get(name, ""), new["texts"].get(name, ""))
    print(f"{len(old['texts'].keys() | new['texts'].keys())} texts, {len(texts_differing)} differ")
    print(f"{len(old['outputs'].keys() | new['outputs'].keys())} outputs, {len(differing)} differ")
    return 1 if differing else 0


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]


def show_difference(name: str, old: str, new: str) -> None:
    print(f"text of {name}:")
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0))[2:]
    for line in lines[:SHOWN]:
        print(f"    {line[:160]}")
    if len(lines) > SHOWN:
        print(f"    … {len(lines) - SHOWN} lines more")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.identity", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--repo", type=Path, default=HERE, help="the checkout to run (default: this one)")
    parser.add_argument("--out", type=Path, help="the result, as JSON")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("OLD", "NEW"), help="two results")
    parser.add_argument("--inputs", type=Path, default=INPUTS, help=f"folder of inputs (default: {INPUTS})")
    options = parser.parse_args()
    if options.compare:
        return compare(read(options.compare[0]), read(options.compare[1]))
    if not options.out:
        parser.error("--out or --compare is needed")
    from benchmarks.identity_inputs import make_inputs

    inputs = options.inputs.resolve()
    if not inputs.exists():
        make_inputs(inputs)
    start = time.monotonic()
    result = run_all(options.repo.resolve(), inputs)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    failed = sum(value != "0" for name, value in result["outputs"].items() if name.endswith(": exit code"))
    print(
        f"{len(result['seconds'])} commands, {failed} of them ended with an error; "
        f"{len(result['outputs'])} outputs, {len(result['texts'])} texts; {time.monotonic() - start:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
