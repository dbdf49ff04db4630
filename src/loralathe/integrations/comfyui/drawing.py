"""The part of a graph that draws a picture, and its copies with other LoRAs, seeds, steps or cfg."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder

from loralathe import AdapterUse, InputError, few

from . import host
from .graph import LORA_NODE, SEEDS, Graph, Link
from .loras import AS_WRITTEN, use_of

if TYPE_CHECKING:
    from loralathe import GivenStudy

NUMBERS = {"seed": SEEDS, "steps": ("steps",), "cfg": ("cfg",)}
"""What a study may change in nodes beside LoRAs → how the fields are called there."""


@dataclass(frozen=True)
class Drawing:
    """The part of the graph that draws a picture."""

    graph: Graph
    link: Link

    @property
    def nodes(self) -> list[str]:
        return self.graph.before(self.link)

    @property
    def loras(self) -> list[str]:
        return [node for node in self.nodes if self.graph.kind(node) == LORA_NODE]

    def uses(self) -> list[AdapterUse]:
        """The LoRAs of the graph, in its order. InputError for none."""
        found = [
            use_of(
                *(
                    self.graph.value(node, field)
                    for field in ("lora", "strength_model", "strength_clip", "preset", "blocks", "elements")
                )
            )
            for node in self.loras
        ]
        if not found:
            raise InputError(
                "there is no LoRA before this picture",
                fix="put 'LoRA with block weights' between the checkpoint and the sampler",
            )
        return found

    def number(self, name: str, default: float) -> float:
        """A number that the nodes of the picture share. InputError where they have different ones."""
        found = {value for _, value in self.graph.holding(self.nodes, NUMBERS[name]).values()}
        if name != "seed" and len(found) > 1:
            return default
        return min(found, default=default)

    def checkpoint(self) -> str:
        """The file of the model, for what the study prints; a word where it cannot be told."""
        models = [node for node in self.loras if "model" in self.graph.inputs(node)]
        try:
            return str(host.file(*self.graph.model_file([models[0], 0]))) if models else "model"
        except InputError:
            return "model"

    def changes(self, wanted: Any, base: Any) -> dict[str, dict[str, object]]:
        """What makes the picture of a request, compared with that of another one, field by field of nodes.

        InputError for what the graph has no field for.
        """
        if len(wanted.adapters) != len(base.adapters):
            raise InputError("a study cannot take a LoRA out of a graph", fix="take its strength to 0")
        changes: dict[str, dict[str, object]] = {}
        for node, use, was in zip(self.loras, wanted.adapters, base.adapters, strict=True):
            if use != was:
                changes[node] = _fields_of(use)
        differing = [
            one.name for one in fields(wanted) if getattr(wanted, one.name) != getattr(base, one.name)
        ]
        others = [name for name in differing if name not in (*NUMBERS, "adapters")]
        if others:
            raise InputError(
                f"this graph's own nodes say what {few(others)} is",
                fix="axes may change LoRAs, seed, steps and cfg; lathe grid changes all else",
            )
        for name in NUMBERS:
            if name in differing:
                self._renumber(name, getattr(wanted, name), getattr(base, name), changes)
        return changes

    def _renumber(self, name: str, value: float, was: float, changes: dict[str, dict[str, object]]) -> None:
        """Seeds count on from where each node's is; other numbers are the same everywhere."""
        holding = self.graph.holding(self.nodes, NUMBERS[name])
        if not holding:
            raise InputError(f"no node before this picture has a field {name}", fix="drop the axis")
        if name != "seed" and len({number for _, number in holding.values()}) > 1:
            raise InputError(
                f"several nodes have {name} of their own: an axis would make them equal",
                where=", ".join(f"node {node}" for node in holding),
            )
        for node, (field, number) in holding.items():
            new = number + (value - was) if name == "seed" else value
            changes.setdefault(node, {})[field] = int(new) if name != "cfg" else float(new)


def _fields_of(use: AdapterUse) -> dict[str, object]:
    """The fields of our LoRA node."""
    return {
        "lora": listed_lora(use.path),
        "strength_model": use.unet,
        "strength_clip": use.te,
        "preset": AS_WRITTEN,
        "blocks": use.blocks or "",
        "elements": use.elements or "",
    }


def listed_lora(path: Path) -> str:
    for name in host.names("loras"):
        if host.file("loras", name) == path:
            return name
    raise InputError("this LoRA is not in ComfyUI's folders", where=str(path))


def drawing_of(cls: type[Any], image: Link) -> Drawing:
    return Drawing(Graph(cls.hidden.dynprompt.get_node), image)


def planned(drawing: Drawing, study: GivenStudy[Any], base: Any, last: type[Any], text: str) -> Any:
    """The copies of the graph, one for each request, and `last`, which takes their pictures."""
    builder = GraphBuilder()
    gathered: Any = None
    for number, request in enumerate(study.requests):
        link = drawing.graph.copy(builder, drawing.link, drawing.changes(request, base), f"picture{number}")
        more = {} if gathered is None else {"before": gathered.out(0)}
        gathered = builder.node("LathePicture", f"gathered{number}", image=link, **more)
    end = builder.node(last.__name__, "report", pictures=gathered.out(0), study=text)
    outputs = len(last.define_schema().outputs)
    return io.NodeOutput(*(end.out(index) for index in range(outputs)), expand=builder.finalize())
