"""What the program found, as rows, sentences and charts of the API; in the process that computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import loralathe
from loralathe.workshop.errors import as_json

if TYPE_CHECKING:
    from loralathe import (
        Card,
        Comparison,
        ConvertedLora,
        Cure,
        Estimate,
        ExtractionReport,
        LoadingCheck,
        PictureLikeness,
        Planned,
        Prepared,
        PreparedBlocks,
        PreparedCure,
        PreparedEverywhere,
        PreparedGrid,
        PreparedPictures,
        PreparedSegments,
        PreparedSoup,
        PreparedTune,
        Report,
        Transferred,
        Verification,
        WeightStudy,
    )

Rows = list[tuple[str, str]]


def megabytes(nbytes: int) -> str:
    """`1,234 MB`, `6.94 GB`."""
    return f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:,.1f} MB"


def of_plan(prepared: Prepared) -> dict[str, Any]:
    """What making files would do: what is written and read, notes, the recipe."""
    planned: Planned = prepared.plan()
    rows: Rows = [("formula", text) for text in prepared.formulas.values()]
    outputs = []
    for output in planned.plan.outputs:
        path = output.save.file
        outputs.append({"path": str(path), "exists": path in planned.existing})
        size = output.nbytes if isinstance(output, loralathe.WeightsOutput) else output.max_nbytes
        rows.append(("file", f"{Path(path).name}, {megabytes(size)}"))
        if isinstance(output, loralathe.WeightsOutput):
            rows.append(("tensors", _buckets(output.buckets)))
    rows += [("reads", _read(use.name, use.nbytes, use.of)) for use in planned.reads]
    recipe = loralathe.recipe_text(prepared.recipe)
    return {
        "rows": rows,
        "notes": list(map(str, planned.plan.warnings)),
        "outputs": outputs,
        "recipe": recipe,
    }


def _read(name: str, nbytes: int, of: int) -> str:
    some, whole = megabytes(nbytes), megabytes(of)
    return f"{name}, {whole}" if some == whole else f"{name}: {some} of {whole}"


def _buckets(held: Mapping[str, int]) -> str:
    return " · ".join(f"{held[name]:,} {text}" for name, text in loralathe.BUCKETS.items() if held.get(name))


def of_picture_plan(prepared: PreparedPictures | PreparedGrid | PreparedBlocks) -> dict[str, Any]:
    """What pictures would take: how many, how large, how long, how much memory."""
    plan: Any = prepared.plan()
    found = loralathe.estimate(prepared, plan)
    if isinstance(prepared, loralathe.PreparedGrid):
        notes = prepared.notes(plan)
        pictures = len(plan.pictures)
        there = prepared.count_finished(plan)
        rows: Rows = [
            (f"{letter} axis", f"{axis.title}: {', '.join(value.label for value in axis.values)}")
            for letter, axis in zip("XYZ", plan.axes, strict=True)
            if axis.title
        ]
        if there:
            rows.append(("pictures", f"{pictures} distinct, {there} of them there already"))
    else:
        notes, pictures, rows = list(plan.issues), found.pictures, []
    if found.sizes:  # else all pictures are there
        rows += _effort(found)
    return _drawing(rows, notes, pictures, _seconds(found))


def _drawing(
    rows: Rows, notes: Iterable[object], pictures: int | None, seconds: float | None
) -> dict[str, Any]:
    plan = {"rows": rows, "notes": list(map(str, notes)), "outputs": [], "recipe": None}
    return {**plan, "pictures": pictures, "seconds": seconds}


def _effort(found: Estimate) -> Rows:
    rows: Rows = [("size", ", ".join(found.sizes)), ("steps in all", f"{found.steps:,}")]
    return rows if found.memory is None else [*rows, ("memory", megabytes(found.memory.one))]


def _seconds(found: Estimate) -> float | None:
    """As measured on this machine, else a guess by the model's size."""
    return found.time.guess if found.time.seconds is None else found.time.seconds


def of_tune_plan(prepared: PreparedTune) -> dict[str, Any]:
    """What a search would try, and what it may take beside a grid of the same values."""
    plan, options = prepared.plan(), prepared.options
    axes = {axis.title: [value.label for value in axis.values] for axis in plan.space.axes}
    rows: Rows = [(title, ", ".join(values)) for title, values in axes.items()]
    rows.append(("candidates", f"{plan.space.size:,}"))
    rows.append(("grid", f"{plan.grid_pictures * options.first:,} pictures on {options.first} seeds"))
    most = options.budget.pictures
    found = loralathe.estimate_pictures(prepared.model, [options.request] * (most or 1))
    seconds = _seconds(found) if most else options.budget.seconds
    return _drawing([*rows, *_effort(found)[:1]], plan.notes, most, seconds)


def of_segments_plan(prepared: PreparedSegments) -> dict[str, Any]:
    """The segments that it begins with, and how many pictures they take."""
    plan = prepared.plan()
    rows: Rows = [(f"segment {number}", " ".join(blocks)) for number, blocks in enumerate(plan.cuts, 1)]
    request = prepared.options.blocks.request
    found = loralathe.estimate_pictures(prepared.model, [request] * plan.pictures)
    return _drawing([*rows, *_effort(found)], plan.issues, plan.pictures, _seconds(found))


def of_everywhere_plan(prepared: PreparedEverywhere) -> dict[str, Any]:
    """What would be searched on each base, and which are left out."""
    rows: Rows = []
    notes: list[object] = []
    used, times = 0, list[float | None]()
    for one in prepared.plan():
        if one.plan is None:
            rows.append((one.base.stem, f"left out: {one.left_out}"))
            continue
        used += 1
        times.append(None if one.estimate is None else _seconds(one.estimate))
        axes = ", ".join(axis.title for axis in one.plan.space.axes)
        rows.append((one.base.stem, f"{one.plan.space.size:,} candidates: {axes}"))
        notes += one.notes
    budget = prepared.budget
    most = None if budget.pictures is None else budget.pictures * used
    seconds = sum(one or 0.0 for one in times) if budget.seconds is None else budget.seconds * used
    return _drawing(rows, dict.fromkeys(map(str, notes)), most, seconds or None)


def of_soup_plan(prepared: PreparedSoup) -> dict[str, Any]:
    """The weights, or how many pictures it takes at most to find them; and the file."""
    plan = prepared.plan()
    weights = plan.weights or ("?",) * len(plan.epochs)
    rows: Rows = [
        (name, one if isinstance(one, str) else f"{one:.4g}")
        for name, one in zip(plan.epochs, weights, strict=True)
    ]
    output = planned(str(prepared.output))["outputs"]
    seconds = None if plan.estimate is None else _seconds(plan.estimate)
    return {**_drawing(rows, plan.notes, plan.most_pictures or None, seconds), "outputs": output}


def of_cure_plan(prepared: PreparedCure) -> dict[str, Any]:
    """What a cure would look at, and the file."""
    plan = prepared.plan()
    rows: Rows = [("modules", f"{plan.modules:,}"), ("watched", f"{plan.watched} pictures")]
    outputs = planned(str(plan.output))["outputs"]
    return {**_drawing(rows, plan.notes, plan.most_pictures, None), "outputs": outputs}


def of_cure(made: Cure, prepared: PreparedCure) -> dict[str, Any]:
    """What was damped, and what the fresh seeds tell; the file, where there is one, and the pictures."""
    found = made.report
    rows: Rows = []
    if found.check is not None:
        for (name, _), before, after in zip(found.goals, found.check.before, found.check.after, strict=True):
            rows.append((name, f"{_points(before)} → {_points(after)}"))
    rows.append(("pictures", f"{found.pictures:,}"))
    outputs = [*([made.file] if made.file else []), *found.files]
    report = {"rows": rows, "sentences": found.sentences(), "blocks": None, "data": None}
    folder = str(prepared.folder)
    return {"outputs": [str(one) for one in outputs], "report": report, "folder": folder}


def _points(value: Any) -> str:
    return "–" if value is None else loralathe.points(value.mean)


def of_card(card: Card, output: str) -> dict[str, Any]:
    """What was learned of a person."""
    low, high = (loralathe.fixed(end, 3) for end in (min(card.spread), max(card.spread)))
    rows: Rows = [
        ("pictures", str(len(card.references))),
        ("model", card.model.name),
        ("trigger", card.trigger or "none"),
        ("spread", f"{low} to {high}, each picture against the others"),
        ("threshold", loralathe.fixed(card.threshold, 3)),
    ]
    report = {"rows": rows, "sentences": [], "blocks": None, "data": None}
    return {"outputs": [output], "report": report}


def of_likeness(card: Card, found: Iterable[PictureLikeness]) -> dict[str, Any]:
    """How like a card each picture is, and their mean."""
    found = list(found)
    rows: Rows = [("threshold", loralathe.fixed(card.threshold, 3))]
    mean = loralathe.mean_likeness(found)
    if mean is not None and mean.high is not None:
        rows.append(("mean", f"{loralathe.fixed(mean.mean, 3)} ± {mean.high - mean.mean:.3f} (95 %)"))
    data = [{"likeness": one.likeness, "person": one.is_person} for one in found]
    return {"outputs": [], "report": {"rows": rows, "sentences": [], "blocks": None, "data": data}}


def sweeps(checkpoint: str, *loras: str) -> dict[str, Any]:
    """What a search over these LoRAs usually changes; `at` is the place of the LoRA."""
    found = [
        {"at": at, "part": one.part, "name": one.name, "values": one.values, "blocks": one.blocks}
        for at, lora in enumerate(loras)
        for one in loralathe.usual_sweeps(checkpoint, lora)
    ]
    return {"sweeps": found}


def of_report(report: Report) -> dict[str, Any]:
    """What was made: rows, sentences that call for an act, shares by block of an extraction."""
    rows: Rows = []
    sentences = [str(text) for text in report.warnings]
    outputs, blocks, data = [], None, None
    for made in report.extractions:
        total = made.total()
        rows += [("modules", f"{made.written:,}"), ("kept", _percent(total.kept, total.energy))]
        blocks = _shares(made)
        data = {"kept": total.kept / total.energy if total.energy else None}
        sentences += [str(one.text) for one in made.remarks]
        outputs += [str(made.path)] if made.path else []
    for weights in report.weights:
        rows.append(("tensors", _buckets(weights.buckets)))
        sentences += [str(one.text) for one in weights.remarks]
        outputs += [str(weights.path)] if weights.path else []
    rows.append(("time", f"{report.seconds:.1f} s"))
    found = {"rows": rows, "sentences": sentences, "blocks": blocks, "data": data}
    return {"outputs": outputs, "report": found}


def _shares(made: ExtractionReport) -> list[dict[str, Any]]:
    found = []
    for block in made.blocks():
        if not block.energy:
            continue  # nothing changed there
        outside, kept = block.outside / block.energy, block.kept / block.energy
        found.append(
            {"name": block.block, "kept": kept, "outside": outside, "cut": max(0.0, 1 - kept - outside)}
        )
    return found


def _percent(part: float, whole: float) -> str:
    return loralathe.percentage(part / whole, 1) if whole else "–"


def planned(output: str | None = None) -> dict[str, Any]:
    """What has no plan but the name of its file."""
    outputs = [] if output is None else [{"path": output, "exists": Path(output).exists()}]
    return {"rows": [], "notes": [], "outputs": outputs, "recipe": None}


def of_checks(found: Iterable[LoadingCheck]) -> dict[str, Any]:
    """What other programs make of a LoRA, a row for each; data: what mends it."""
    rows: Rows = []
    data = []
    for one in found:
        rows.append((one.label, _loading(one)))
        for finding in one.findings:
            such = loralathe.few(list(finding.modules), 2)
            rows.append(
                (one.label, f"{finding.verdict} {len(finding.modules)}: {finding.why}, such as {such}")
            )
        data.append(
            {"program": one.program, "label": one.label, "ok": one.ok, "to": one.to, "bake": one.bake}
        )
    return {"outputs": [], "report": {"rows": rows, "sentences": [], "blocks": None, "data": data}}


def _loading(one: LoadingCheck) -> str:
    if one.refused is not None:
        return f"refuses it: {one.refused}"
    return f"uses all {one.modules} modules" if one.ok else f"uses {one.used} of {one.modules} modules"


def of_conversion(made: ConvertedLora) -> dict[str, Any]:
    """The new file, and from which names to which."""
    rows: Rows = [("modules", ", ".join(f"{count} {kind}" for kind, count in made.modules.items()))]
    rows.append(("names", f"from {made.source} to {made.dialect}"))
    baked = of_report(made.baking)["report"] if made.baking is not None else {"rows": [], "sentences": []}
    sentences = list(baked["sentences"])
    if made.left_out:
        sentences.append(f"words for prompts are left out: {loralathe.few(list(made.left_out))}")
    found = {"rows": rows + baked["rows"], "sentences": sentences, "blocks": None, "data": None}
    return {"outputs": [str(made.path)] if made.path else [], "report": found}


def of_transfer(made: Transferred) -> dict[str, Any]:
    """How well the LoRA fits the other base, block by block, and the new file, if blocks moved."""
    fitting = made.fitting
    rows: Rows = [(one.block, _shared(one.shared)) for one in fitting.blocks]
    rows.append(("total", _shared(fitting.total.shared)))
    rows.append(("placed", f"{sum(map(len, fitting.moved.values())):,}"))
    if fitting.left_out:
        rows.append(("left out", f"{len(fitting.left_out):,}"))
    sentences = [
        "the numbers say how alike both bases treat what the LoRA reads and writes: 1 as on its own base"
    ]
    if made.file is None:
        sentences.append("nothing moves: use the LoRA as it is")
    for stack in fitting.stacks:
        if stack.moves:
            sentences.append(f"{stack.path}: {stack.depths[0]} blocks of A, {stack.depths[1]} of B")
    report = {"rows": rows, "sentences": sentences, "blocks": None, "data": None}
    return {"outputs": [str(made.file)] if made.file else [], "report": report}


def _shared(value: float | None) -> str:
    return "–" if value is None else loralathe.fixed(value, 3)


def of_answer(found: Comparison | Verification | WeightStudy) -> dict[str, Any]:
    """A comparison, a check or a study of weights: its rows and its data."""
    data = plain(found)
    blocks = data.get("blocks") if isinstance(data, dict) else None
    rows: Rows = []
    sentences = []
    if isinstance(found, loralathe.Verification):
        rows = [
            (
                "result",
                "the file is what its record says" if found.ok else "the file is not what its record says",
            )
        ]
    if isinstance(found, loralathe.Comparison):
        sentences = [str(found.verdict.text)]
    return {"outputs": [], "report": {"rows": rows, "sentences": sentences, "blocks": blocks, "data": data}}


def plain(found: Any) -> Any:
    """Data for JSON: dataclasses as objects, paths as texts."""
    if is_dataclass(found) and not isinstance(found, type):
        return {name: plain(value) for name, value in asdict(found).items()}
    if isinstance(found, Mapping):
        return {str(name): plain(value) for name, value in found.items()}
    if isinstance(found, str) or not isinstance(found, Iterable):
        return found if isinstance(found, (str, int, float, bool, type(None))) else str(found)
    return [plain(one) for one in found]


def choices() -> dict[str, Any]:
    """Names of samplers and schedules, and an example of each axis."""
    return {
        "choices": {
            "sampler": list(loralathe.sampler_names()),
            "schedule": list(loralathe.schedule_names()),
            "hires_upscaler": list(loralathe.upscaler_names()),
        },
        "axes": list(loralathe.axis_examples()),
    }


def of_recipe(path: str) -> dict[str, Any]:
    """What a recipe's text says, or its mistakes."""
    try:
        recipe = loralathe.read_recipe(Path(path))
    except loralathe.LatheError as error:
        return {"errors": [as_json(error)], "variables": {}, "steps": [], "saves": []}
    formulas = loralathe.Prepared(recipe, loralathe.RunOptions()).formulas
    return {
        "errors": [],
        "variables": dict(recipe.variables),
        "steps": [[name, text] for name, text in formulas.items()],
        "saves": [[save.step, str(save.file)] for save in recipe.saves],
    }


def of_picture(path: str) -> dict[str, Any]:
    """The settings that a picture was made with, and its infotext."""
    found, reading = loralathe.read_settings(path), loralathe.picture_notes(path)
    entries = ", ".join(f"{key}: {value}" for key, value in reading.entries.items())
    text = "\n".join([reading.prompt, f"Negative prompt: {reading.negative}", entries])
    return {"settings": dict(found.values), "notes": list(found.notes), "infotext": text}


def of_list(text: str, checkpoint: str, presets: Mapping[str, str]) -> dict[str, Any]:
    """A list of block weights, or the name of one, by the blocks of a checkpoint's family."""
    family = loralathe.inspect(checkpoint).family
    if family is None:
        raise loralathe.InputError("this model has no blocks that are known", where=checkpoint)
    return {"blocks": [list(pair) for pair in loralathe.block_list(text, family, presets)], "kind": family}


def recorded(path: str) -> dict[str, Any]:
    """The recipe in a file that we made."""
    return {"recipe": str(loralathe.recorded_recipe(path))}
