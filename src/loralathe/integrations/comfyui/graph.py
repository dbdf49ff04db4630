"""The graph that is running: what stands before a picture, and copies of it with other values.

Knows nothing of models: nodes are dictionaries, as ComfyUI's API has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loralathe import InputError

LORA_NODE, SLIDERS = "LatheLora", "LatheBlocks"
LOADERS = {
    "CheckpointLoaderSimple": ("checkpoints", "ckpt_name"),
    "UNETLoader": ("diffusion_models", "unet_name"),
    "UnetLoaderGGUF": ("unet_gguf", "unet_name"),
    "UnetLoaderGGUFAdvanced": ("unet_gguf", "unet_name"),
}
"""Nodes that bring in a model, ComfyUI-GGUF's too → the kind of its file, and the field with its name."""
SEEDS = ("seed", "noise_seed")
PRIMITIVE = "Primitive"

Link = Sequence[Any]
"""[id of a node, index of its output]"""
Changes = Mapping[str, Mapping[str, object]]
"""id of a node → field → value."""


def is_link(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


@dataclass(frozen=True)
class Graph:
    """Nodes by id, found one by one: parts of a graph may be made while it runs."""

    node: Callable[[str], Mapping[str, Any]]

    def inputs(self, node: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.node(node)["inputs"]
        return found

    def kind(self, node: str) -> str:
        return str(self.node(node)["class_type"])

    def before(self, link: Link) -> list[str]:
        """All nodes that a value needs, each after those that it needs itself."""
        order: list[str] = []
        waiting = [(str(link[0]), False)]
        seen: set[str] = set()
        while waiting:
            node, done = waiting.pop()
            if done:
                order.append(node)
            elif node not in seen:
                seen.add(node)
                waiting.append((node, True))
                waiting += [(value[0], False) for value in self.inputs(node).values() if is_link(value)]
        return order

    def value(self, node: str, field: str) -> Any:
        """What stands in a field, or in the node of a number or text that is connected to it.

        InputError for what only another node's work would tell.
        """
        value = self.inputs(node)[field]
        if not is_link(value):
            return value
        source = value[0]
        if self.kind(source).startswith(PRIMITIVE) and "value" in self.inputs(source):
            return self.value(source, "value")
        if self.kind(source).startswith(SLIDERS):
            return ",".join(f"{self.value(source, block):g}" for block in self.inputs(source))
        raise InputError(
            f"the field {field} of a LoRA comes from another node; a study must know it beforehand",
            where=f"node {node}",
            fix="type it in, or connect sliders or a primitive",
        )

    def model_file(self, link: Link) -> tuple[str, str]:
        """(kind of file, name) of the model at the beginning of a row of nodes with an input `model`."""
        node = str(link[0])
        while self.kind(node) not in LOADERS:
            following = self.inputs(node).get("model")
            if following is None or not is_link(following):
                raise InputError(
                    "where this model comes from cannot be told",
                    where=f"node {node}, {self.kind(node)}",
                    fix="begin with Load Checkpoint or Load Diffusion Model",
                )
            node = following[0]
        kind, field = LOADERS[self.kind(node)]
        return kind, str(self.value(node, field))

    def holding(self, nodes: Iterable[str], fields: Sequence[str]) -> dict[str, tuple[str, float]]:
        """Nodes that have a number in one of the fields → (field, number)."""
        found = {}
        for node in nodes:
            for field in fields:
                value = self.inputs(node).get(field)
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    found[node] = (field, value)
        return found

    def copy(self, builder: Any, link: Link, changes: Changes, name: str) -> Link:
        """The value again with other fields: nodes that the changes reach are copied, all others shared."""
        copies: dict[str, Any] = {}
        for node in self.before(link):
            inputs = dict(self.inputs(node))
            moved = {
                field: copies[value[0]].out(value[1])
                for field, value in inputs.items()
                if is_link(value) and value[0] in copies
            }
            if moved or node in changes:
                given = inputs | moved | dict(changes.get(node, {}))
                copies[node] = builder.node(self.kind(node), f"{name}.{node}", **given)
        source = str(link[0])
        return link if source not in copies else list(copies[source].out(link[1]))
