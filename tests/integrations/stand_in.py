"""A small stand-in of ComfyUI, for the parts that our nodes use: its node API, models, folders and executor.

Written from ComfyUI's behaviour; it is strict where ComfyUI is lenient: a name that it does not have, a field
that an input does not know, or an output too many is an error here.
"""

from __future__ import annotations

import enum
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from integrations.held import clip_of, unet_of

PACK = Path(__file__).resolve().parents[2] / "src/loralathe/integrations/comfyui"
COMMON = ("display_name", "optional", "tooltip", "lazy", "extra_dict")
WIDGET = (*COMMON[:-1], "default", "socketless", "force_input")
NUMBER = (*WIDGET, "min", "max", "step", "display_mode")
FIELDS = {
    "BOOLEAN": (*WIDGET, "label_on", "label_off"),
    "INT": (*NUMBER, "control_after_generate"),
    "FLOAT": (*NUMBER, "round"),
    "STRING": (*WIDGET, "multiline", "placeholder", "dynamic_prompts"),
    "COMBO": (*WIDGET, "options", "control_after_generate", "upload", "image_folder", "remote"),
}
"""What the inputs of a type take; all others take COMMON."""


class Input:
    """An input of a node: `options` is what the page gets."""

    io_type = ""

    def __init__(self, id: str, **options: Any) -> None:
        allowed = FIELDS.get(self.io_type, COMMON)
        assert not options.keys() - set(allowed), f"{self.io_type}: {options.keys() - set(allowed)}"
        assert id.isidentifier(), id
        if self.io_type == "COMBO":
            assert isinstance(options["options"], list)
            assert options.get("default") is None or options["default"] in options["options"]
        self.id, self.optional, self.lazy = id, options.pop("optional", False), options.pop("lazy", None)
        self.raw = options.pop("extra_dict", {}).get("rawLink", False)
        self.options = {key: value for key, value in options.items() if value is not None}


class Output:
    io_type = ""

    def __init__(
        self, id: str | None = None, display_name: str | None = None, tooltip: str | None = None
    ) -> None:
        self.id, self.display_name, self.tooltip = id, display_name, tooltip


def Custom(io_type: str) -> Any:
    kinds: dict[str, Any] = {"io_type": io_type}
    return type(
        f"Type{io_type}",
        (),
        {**kinds, "Input": type("Input", (Input,), kinds), "Output": type("Output", (Output,), kinds)},
    )


class MultiInput(Input):
    """One that takes several types."""

    def __init__(self, held: Input, types: Sequence[Any]) -> None:
        self.__dict__.update(held.__dict__)
        self.io_type = ",".join((held.io_type, *(one.io_type for one in types)))


class Hidden(str, enum.Enum):
    unique_id, prompt, dynprompt = "UNIQUE_ID", "PROMPT", "DYNPROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"


class NumberDisplay(str, enum.Enum):
    number, slider = "number", "slider"


class FolderType(str, enum.Enum):
    input, output, temp = "input", "output", "temp"


@dataclass
class Schema:
    node_id: str
    display_name: str
    category: str
    inputs: list[Input]
    outputs: list[Output]
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    is_output_node: bool = False
    enable_expand: bool = False
    not_idempotent: bool = False


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None, expand: Any = None) -> None:
        self.args, self.ui, self.expand = args, ui, expand


class ComfyNode:
    hidden: Any = None

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError

    @classmethod
    def check_lazy_status(cls, **inputs: Any) -> list[str]:
        return [name for name, value in inputs.items() if value is None]


class ComfyExtension:
    async def get_node_list(self) -> list[type[ComfyNode]]:
        raise NotImplementedError


def checked(node: type[ComfyNode]) -> Schema:
    """A node's schema; its functions take what it says, and no names are used twice."""
    schema = node.define_schema()
    ids = [one.id for one in schema.inputs]
    assert len(set(ids)) == len(ids)
    assert node.__name__ == schema.node_id
    assert all(output.display_name for output in schema.outputs)
    for function in ("execute", "fingerprint_inputs"):
        own = vars(node).get(function)
        if own is None:
            continue
        takes = inspect.signature(getattr(node, function)).parameters
        if not any(one.kind is one.VAR_KEYWORD for one in takes.values()):
            assert set(takes) == set(ids), (node.__name__, function)
        for one in schema.inputs:
            if function == "execute" and one.id in takes:
                assert (takes[one.id].default is not inspect.Parameter.empty) == one.optional, one.id
    return schema


class WeightAdapterBase:
    """What a patch of a weight derives from."""


class ModelPatcher:
    """A model and the patches of its weights."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.model = SimpleNamespace(state_dict=lambda: dict(tensors), named_parameters=tensors.items)
        self.patches: dict[str, list[Any]] = {}
        self.attachments: dict[str, Any] = {}

    def clone(self) -> ModelPatcher:
        copy = ModelPatcher(self.model.state_dict())
        copy.model = self.model
        copy.patches = {key: found[:] for key, found in self.patches.items()}
        copy.attachments = dict(self.attachments)
        return copy

    def add_patches(self, patches: Mapping[str, Any], strength: float = 1.0, own: float = 1.0) -> list[str]:
        for key, patch in patches.items():
            assert key in self.model.state_dict(), key
            self.patches.setdefault(key, []).append((strength, patch, own, None, None))
        return list(patches)

    def weights(self) -> dict[str, torch.Tensor]:
        """As they are when the model runs, fp32."""
        held = self.model.state_dict().items()
        found = {key: value.float() if value.is_floating_point() else value for key, value in held}
        found |= {key: found[key].clone() for key in self.patches}
        with torch.inference_mode():
            for key, patches in self.patches.items():
                for strength, patch, own, offset, function in patches:
                    found[key] = patch.calculate_weight(
                        found[key], key, strength, own, offset, function, torch.float32, None
                    )
        return found


class Clip:
    def __init__(self, patcher: ModelPatcher) -> None:
        self.patcher = patcher

    @property
    def cond_stage_model(self) -> Any:
        return self.patcher.model

    def clone(self) -> Clip:
        return Clip(self.patcher.clone())


class InterruptProcessingException(Exception):  # noqa: N818  ComfyUI's name
    pass


class Builder:
    """Nodes of a part of a graph, while it runs."""

    count = 0

    def __init__(self) -> None:
        Builder.count += 1
        self.prefix, self.nodes = f"part{Builder.count}.", dict[str, Any]()

    def node(self, class_type: str, id: str, **inputs: Any) -> Any:
        assert self.prefix + id not in self.nodes
        self.nodes[self.prefix + id] = {"class_type": class_type, "inputs": inputs}
        return SimpleNamespace(out=lambda index: [self.prefix + id, index])

    def finalize(self) -> dict[str, Any]:
        return self.nodes


class Host:
    """A ComfyUI with the folders of `base`; `nodes` are all that it knows, `shown` what they showed."""

    def __init__(self, base: Path) -> None:
        self.base, self.shown, self.bars = base, dict[str, Any](), list[Any]()
        self.interrupted = False
        self.nodes: dict[str, Any] = {"CheckpointLoaderSimple": Loader}
        for kind in ("loras", "checkpoints", "diffusion_models", "embeddings"):
            (base / "models" / kind).mkdir(parents=True)
        Loader.host = self
        self.routes = SimpleNamespace(route=self._route)
        self.app = SimpleNamespace(middlewares=list[Any]())
        self.user_manager = SimpleNamespace(get_request_user_filepath=self._own_file)
        self.answers: dict[tuple[str, str], Callable[[Any], Any]] = {}
        self.modules = dict(self._modules())
        self.pack = ""

    def _modules(self) -> Iterator[tuple[str, ModuleType]]:
        types = {
            name: Custom(io_type)
            for name, io_type in {
                "Boolean": "BOOLEAN", "Int": "INT", "Float": "FLOAT", "String": "STRING", "Combo": "COMBO",
                "Image": "IMAGE", "Model": "MODEL", "Clip": "CLIP", "Vae": "VAE",
            }.items()
        }  # fmt: skip
        io = SimpleNamespace(
            **types, Custom=Custom, MultiType=SimpleNamespace(Input=MultiInput), Hidden=Hidden, Schema=Schema,
            ComfyNode=ComfyNode, NodeOutput=NodeOutput, NumberDisplay=NumberDisplay, FolderType=FolderType,
        )  # fmt: skip
        ui = SimpleNamespace(
            PreviewText=lambda text: {"text": [text]},
            SavedImages=lambda results: {"images": results},
            SavedResult=lambda filename, subfolder, type: {"filename": filename, "subfolder": subfolder},
        )
        yield from self._module("comfy_api")
        yield from self._module("comfy_api.latest", io=io, ui=ui, ComfyExtension=ComfyExtension)
        yield from self._module("comfy_execution")
        yield from self._module("comfy_execution.graph_utils", GraphBuilder=Builder)
        yield from self._module("comfy")
        yield from self._module("comfy.weight_adapter", WeightAdapterBase=WeightAdapterBase)
        yield from self._module(
            "comfy.model_management",
            processing_interrupted=lambda: self.interrupted,
            interrupt_current_processing=self._interrupt,
            InterruptProcessingException=InterruptProcessingException,
        )
        yield from self._module("comfy.utils", ProgressBar=self._bar)
        yield from self._module(
            "comfy.sd",
            load_state_dict_guess_config=lambda tensors, embedding_directory, metadata: held(tensors),
            load_checkpoint_guess_config=lambda path, embedding_directory: Loader.load(Path(path)),
            load_diffusion_model_state_dict=lambda tensors: ModelPatcher(unet_of(tensors)),
        )
        web = SimpleNamespace(
            json_response=lambda told, status: (status, told), middleware=lambda function: function
        )
        yield from self._module("aiohttp", web=web)
        yield from self._module("server", PromptServer=SimpleNamespace(instance=self))
        yield from self._module(
            "folder_paths",
            get_filename_list=self.names,
            get_full_path=self._path,
            get_folder_paths=lambda kind: [
                str(self.base / "models" / kind),
                str(self.base / "output" / kind),
            ],
            get_output_directory=lambda: str(self.base / "output"),
            get_user_directory=lambda: str(self.base / "user"),
        )

    @staticmethod
    def _module(name: str, **contents: Any) -> Iterator[tuple[str, ModuleType]]:
        module = ModuleType(name)
        module.__dict__.update(contents)
        yield name, module

    def _route(self, method: str, path: str) -> Callable[[Any], None]:
        def add(answer: Callable[[Any], Any]) -> None:
            self.answers[method, path] = answer

        return add

    def _own_file(self, request: Any, name: str, *, create_dir: bool) -> str:
        """Of the user of a request; ComfyUI raises KeyError for one that it does not know."""
        assert not create_dir
        return str(
            self.base / "user" / {None: "default", "2": "second"}[request.headers.get("comfy-user")] / name
        )

    def ask(self, path: str, **headers: str) -> Any:
        """Its server's answer, which is the request, after all that stands before it."""

        async def answer(request: Any) -> Any:
            return request

        (before,) = self.app.middlewares
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return _awaited(before(SimpleNamespace(method="POST", path=path, headers=named), answer))

    def _interrupt(self, value: bool) -> None:
        self.interrupted = value

    def _bar(self, total: int, node_id: str | None = None) -> Any:
        steps: list[tuple[int, int]] = []
        self.bars.append(steps)
        return SimpleNamespace(update_absolute=lambda done, total: steps.append((done, total)))

    def names(self, kind: str) -> list[str]:
        places = (self.base / "models" / kind, self.base / "output" / kind)
        return sorted(
            file.relative_to(place).as_posix() for place in places for file in place.rglob("*.safetensors")
        )

    def _path(self, kind: str, name: str) -> str | None:
        for place in (self.base / "models" / kind, self.base / "output" / kind):
            if (place / name).is_file():
                return str(place / name)
        return None

    def load(self, folder: Path = PACK) -> list[type[ComfyNode]]:
        """Import a pack as ComfyUI does: a folder of any name, not a package that is installed."""
        self.pack = f"{folder}_pack"
        for name in [name for name in sys.modules if name.startswith(self.pack)]:
            del sys.modules[name]  # what another host has loaded is bound to that host
        spec = importlib.util.spec_from_file_location(
            self.pack, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.pack] = module
        spec.loader.exec_module(module)
        nodes = list(_awaited(_awaited(module.comfy_entrypoint()).get_node_list()))
        self.nodes |= {checked(node).node_id: node for node in nodes}
        return nodes

    def run(self, graph: Mapping[str, Any], wanted: str) -> tuple[Any, ...]:
        """The outputs of a node, after all that it needs; each node runs once."""
        self.graph, self.done = dict(graph), dict[str, tuple[Any, ...]]()
        with torch.inference_mode():
            return self._outputs(wanted)

    def _outputs(self, node: str) -> tuple[Any, ...]:
        if node not in self.done:
            self.done[node] = self._run(node)
        return self.done[node]

    def _run(self, node: str) -> tuple[Any, ...]:
        found = self.graph[node]
        kind, inputs = self.nodes[found["class_type"]], dict(found["inputs"])
        if not issubclass(kind, ComfyNode):
            return tuple(kind.run(**{name: self._value(value) for name, value in inputs.items()}))
        schema = kind.define_schema()
        known = {one.id: one for one in schema.inputs}
        assert not inputs.keys() - known.keys(), inputs.keys() - known.keys()
        missing = {one.id for one in schema.inputs if not one.optional} - inputs.keys()
        assert not missing
        given = {
            name: value if known[name].raw else (None if known[name].lazy else self._value(value))
            for name, value in inputs.items()
        }
        asked = {name for name in kind.check_lazy_status(**given) if known[name].lazy}
        given |= {name: self._value(inputs[name]) for name in asked}
        clone = type(kind.__name__, (kind,), {"hidden": self._hidden(schema, node)})
        result = clone.execute(**given)
        assert len(result.args) == len(schema.outputs), kind.__name__
        if result.ui is not None:
            self.shown[node] = result.ui
        if result.expand is None:
            return tuple(result.args)
        assert schema.enable_expand
        self.graph |= result.expand
        outputs = tuple(self._value(value) for value in result.args)
        for name, part in result.expand.items():
            made = self.nodes[part["class_type"]]
            if issubclass(made, ComfyNode) and made.define_schema().is_output_node:
                self._outputs(name)
        return outputs

    def _hidden(self, schema: Schema, node: str) -> Any:
        every = {
            Hidden.unique_id: node,
            Hidden.dynprompt: SimpleNamespace(get_node=lambda id: self.graph[id]),
        }
        return SimpleNamespace(**{one.name: every.get(one) for one in schema.hidden})

    def _value(self, value: Any) -> Any:
        is_link = isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
        return self._outputs(value[0])[value[1]] if is_link else value


def _awaited(coroutine: Any) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


def held(tensors: Mapping[str, torch.Tensor]) -> tuple[Any, ...]:
    """MODEL, CLIP, VAE and more of a checkpoint's tensors."""
    return ModelPatcher(unet_of(tensors)), Clip(ModelPatcher(clip_of(tensors))), "VAE", None


class Loader:
    """Load Checkpoint."""

    host: Host

    @staticmethod
    def run(ckpt_name: str) -> tuple[Any, ...]:
        return Loader.load(Path(str(Loader.host._path("checkpoints", ckpt_name))))[:3]

    @staticmethod
    def load(path: Path) -> tuple[Any, ...]:
        from safetensors.torch import load_file

        return held(load_file(path))


def in_host(host: Host, setitem: Callable[[Any, str, Any], None]) -> None:
    """Make the host's modules those that `import` finds; setitem: of pytest's monkeypatch."""
    for name, module in host.modules.items():
        setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(host.modules[parent], child, module)
