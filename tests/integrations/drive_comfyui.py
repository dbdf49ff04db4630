"""Runs graphs inside a real ComfyUI, without its server: `drive_comfyui.py COMFYUI_DIR FOLDER [FLAGS]`.

FOLDER is ComfyUI's base directory. It reads `FOLDER/graphs.json`, name → graph in the format of its API, and
writes `FOLDER/results.json`: name → what each node showed, or the error. `FOLDER/translations.json` is what
its page gets for other languages, `FOLDER/nodes.json` what it gets of our nodes.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from pathlib import Path

comfyui, folder = Path(sys.argv[1]), Path(sys.argv[2])
sys.argv = ["main.py", "--cpu", "--disable-metadata", "--base-directory", str(folder), *sys.argv[3:]]
sys.path.insert(0, str(comfyui))

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

importlib.import_module("utils.json_util")  # before nodes, which puts another `utils` first

import comfy.lora  # noqa: E402
import execution  # noqa: E402
import folder_paths  # noqa: E402
import nodes  # noqa: E402
import torch  # noqa: E402
from app.custom_node_manager import CustomNodeManager  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


class Server:
    """What an executor tells of its server."""

    client_id = None
    last_node_id = None
    last_prompt_id = None

    def send_sync(self, event: str, data: object, client: object = None) -> None:
        pass


class PatchedWeights:
    """Every n-th weight that patches change, as ComfyUI computes it in fp32: `output/patched.safetensors`."""

    RETURN_TYPES = ()
    FUNCTION = "write"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, object]:
        return {"required": {"model": ("MODEL",), "clip": ("CLIP",), "every": ("INT", {"default": 1})}}

    def write(self, model: object, clip: object, every: int) -> dict[str, object]:
        found = {}
        for patcher in (model, clip.patcher):
            weights = patcher.model.state_dict()
            for key in sorted(patcher.patches)[::every]:
                own = weights[key].to(torch.float32, copy=True)
                found[key] = comfy.lora.calculate_weight(patcher.patches[key], own, key).contiguous()
        save_file(found, str(folder / "output/patched.safetensors"))
        return {}


async def run() -> None:
    output = Path(folder_paths.get_output_directory())
    for kind in ("checkpoints", "loras"):  # as main.py does
        folder_paths.add_model_folder_path(kind, str(output / kind))
    await nodes.init_external_custom_nodes()
    nodes.NODE_CLASS_MAPPINGS["PatchedWeights"] = PatchedWeights
    ours = {name: node for name, node in nodes.NODE_CLASS_MAPPINGS.items() if name.startswith("Lathe")}
    write("nodes", {name: node.GET_NODE_INFO_V1() for name, node in ours.items()})
    write("translations", CustomNodeManager().build_translations())
    executor = execution.PromptExecutor(Server())
    results = {}
    for name, graph in json.loads((folder / "graphs.json").read_text("utf-8")).items():
        valid, error, outputs, problems = await execution.validate_prompt(name, graph, None)
        if not valid:
            results[name] = {"invalid": error, "problems": problems}
            continue
        await executor.execute_async(graph, name, {}, outputs)
        told = [data for event, data in executor.status_messages if event == "execution_error"]
        results[name] = {
            "error": told[0]["exception_message"] if told else None,
            "outputs": executor.history_result["outputs"],
        }
        print(name, results[name]["error"] or "done", flush=True)
    write("results", results)


def write(name: str, value: object) -> None:
    (folder / f"{name}.json").write_text(json.dumps(value, default=str, ensure_ascii=False), "utf-8")


asyncio.run(run())
