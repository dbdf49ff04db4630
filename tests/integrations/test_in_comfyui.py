"""The nodes inside a real ComfyUI, without its page: `COMFYUI_DIR=… make test-comfyui`.

ComfyUI knows models by their widths, so the model is a whole SD 1.5, of random numbers. Pictures of it are
64×64 pixels in 2 steps.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import loralathe
from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors
from integrations.stand_in import Host, checked, in_host
from integrations.test_nodes import AS_WRITTEN, LIST, Graph, lora, node, without_record
from loralathe.integrations import install
from loralathe.rendering import local

COMFYUI = os.environ.get("COMFYUI_DIR")
PYTHON = os.environ.get("COMFYUI_PYTHON", sys.executable)
GGUF = os.environ.get("COMFYUI_GGUF")
"""The folder of city96's ComfyUI-GGUF; without it, its models are not tried."""
NEEDS_GGUF = pytest.mark.skipif(not GGUF, reason="COMFYUI_GGUF names no ComfyUI-GGUF")
UNET = "model.diffusion_model."
DRIVER = Path(__file__).with_name("drive_comfyui.py")
SCALE = 0.18215
"""Of SD 1.5's latents: ComfyUI's nodes have them divided by it."""
FIRST_LEVEL = 14.614643
"""σ of the first of the 1000 training steps of SD 1.5."""
PROMPT, SEED, STEPS, CFG, SIZE = "a girl, smiling", 1, 2, 7.0, 64

pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not COMFYUI, reason="COMFYUI_DIR names no ComfyUI"),
]


def run_graphs(base: Path, graphs: Mapping[str, Graph], *flags: str) -> dict[str, Any]:
    """What a real ComfyUI shows of graphs, by name, with our pack in it; `base` has its models."""
    install("comfyui", base)
    (base / "graphs.json").write_text(json.dumps(graphs), "utf-8")
    surroundings = {**os.environ, "PYTHONPATH": str(Path(loralathe.__file__).parents[1])}
    words = [PYTHON, str(DRIVER), str(COMFYUI), str(base), *flags]
    done = subprocess.run(words, env=surroundings, check=False, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads((base / "results.json").read_text("utf-8"))
    return found


@dataclass(frozen=True)
class Ran:
    """A ComfyUI that ran all graphs of this file: its folder, and what it showed of each."""

    base: Path
    results: dict[str, Any]

    def json(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.base / f"{name}.json").read_text("utf-8"))
        return found

    def latents(self, name: str) -> torch.Tensor:
        assert self.results[name]["error"] is None
        (file,) = (self.base / "output").glob(f"{name}_*.latent")
        return load_file(file)["latent_tensor"]

    def file(self, kind: str, name: str) -> Path:
        return self.base / kind / f"{name}.safetensors"


def with_lora(**fields: object) -> Graph:
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="base.safetensors"),
        "2": lora(model=["1", 0], clip=["1", 1], **fields),
    }


def sampled(graph: Graph, model: list[Any], clip: list[Any], name: str) -> Graph:
    """Latents of a picture, from the noise that lathe begins with; ComfyUI's own is 0.2 % larger at first."""
    return graph | {
        "10": node("CLIPTextEncode", text=PROMPT, clip=clip),
        "11": node("CLIPTextEncode", text="", clip=clip),
        "12": node("LoadLatent", latent="noise.latent"),
        "13": node(
            "KSamplerAdvanced", model=model, add_noise="disable", noise_seed=SEED, steps=STEPS, cfg=CFG,
            sampler_name="euler", scheduler="normal", positive=["10", 0], negative=["11", 0],
            latent_image=["12", 0], start_at_step=0, end_at_step=10000, return_with_leftover_noise="disable",
        ),
        "14": node("SaveLatent", samples=["13", 0], filename_prefix=name),
    }  # fmt: skip


def drawn(graph: Graph) -> Graph:
    return graph | {
        "10": node("CLIPTextEncode", text=PROMPT, clip=["2", 1]),
        "11": node("CLIPTextEncode", text="", clip=["2", 1]),
        "12": node("EmptyLatentImage", width=SIZE, height=SIZE, batch_size=1),
        "13": node(
            "KSampler", model=["2", 0], seed=SEED, steps=STEPS, cfg=CFG, sampler_name="euler",
            scheduler="normal", positive=["10", 0], negative=["11", 0], latent_image=["12", 0], denoise=1.0,
        ),
        "14": node("VAEDecode", samples=["13", 0], vae=["1", 2]),
    }  # fmt: skip


def graphs() -> dict[str, Graph]:
    loader = node(
        "LoraLoader", model=["1", 0], clip=["1", 1], lora_name="hina.safetensors", strength_model=1.0,
        strength_clip=1.0,
    )  # fmt: skip
    save = node(
        "LatheSave", model=["2", 0], clip=["2", 1], dtype="as the base", file="saved", overwrite=False
    )
    foreign = {**with_lora(), "2": loader, "3": save}
    grid = node(
        "LatheStrengthGrid", image=["14", 0], x="hina = 0, 0.8", y="", z="", legend=True, most_pictures=9
    )
    blocks = node(
        "LatheBlockAnalyzer", image=["14", 0], lora="", weights="0,1", blocks="BASE, OUT05", encoders=False,
        seeds=1, threshold=1,
    )  # fmt: skip
    merge = node("LatheMerge", model=["2", 0], clip=["2", 1], dtype="fp32")
    plain = {"1": node("CheckpointLoaderSimple", ckpt_name="base.safetensors")}
    return {
        "live": sampled(with_lora(), ["2", 0], ["2", 1], "live"),
        "merged": sampled(with_lora() | {"3": merge}, ["3", 0], ["3", 1], "merged"),
        "without": sampled(plain, ["1", 0], ["1", 1], "without"),
        "save": with_lora() | {"3": save},
        "again": with_lora() | {"3": {**save, "inputs": save["inputs"] | {"dtype": "bf16"}}},
        "foreign": foreign,
        "mistake": with_lora(blocks="1,0,1") | {"3": save},
        "broken": sampled(with_lora(lora="broken.safetensors"), ["2", 0], ["2", 1], "broken"),
        **on_quantised(loader),
        "grid": drawn(with_lora(blocks="")) | {"20": grid},
        "blocks": drawn(with_lora(blocks="")) | {"20": blocks},
        "looks": {
            "1": node("LatheInspect", file="hina.safetensors"),
            "2": node("LatheCheck", lora="hina.safetensors", program="all"),
        },
    }


def on_quantised(theirs: dict[str, Any]) -> dict[str, Graph]:
    """Our node and ComfyUI's own on a quantised U-Net; the text encoder is the checkpoint's."""
    unets = {"fp8": node("UNETLoader", unet_name="unet.safetensors", weight_dtype="fp8_e4m3fn")}
    if GGUF:
        unets["gguf"] = node("UnetLoaderGGUF", unet_name="unet.gguf")
    ours = lora(clip=["1", 1], blocks="", strength_clip=1.0, strength_model=1.0)
    found = {}
    for kind, unet in unets.items():
        for name, one in {"ours": ours, "theirs": theirs}.items():
            graph = {
                "1": node("CheckpointLoaderSimple", ckpt_name="base.safetensors"),
                "2": {**one, "inputs": {**one["inputs"], "model": ["3", 0]}},
                "3": unet,
            }
            found[f"{kind}-{name}"] = sampled(graph, ["2", 0], ["2", 1], f"{kind}-{name}")
    return found


def write_quantised(folder: Path, checkpoint: Mapping[str, torch.Tensor]) -> None:
    """The U-Net alone, for ComfyUI's own fp8, and in Q8_0 for ComfyUI-GGUF."""
    folder.mkdir(parents=True)
    unet = {name: value for name, value in checkpoint.items() if name.startswith(UNET)}
    save_file(
        {name.removeprefix(UNET): value.half() for name, value in unet.items()},
        str(folder / "unet.safetensors"),
    )
    if GGUF:
        import gguf

        writer = gguf.GGUFWriter(folder / "unet.gguf", "sd1")
        for name, value in unet.items():
            array = value.float().numpy()
            kind = gguf.GGMLQuantizationType.Q8_0 if value.ndim == 2 else gguf.GGMLQuantizationType.F16
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def make_folders(base: Path) -> None:
    for name in ("custom_nodes", "models/checkpoints", "models/loras", "input", "output", "user", "temp"):
        (base / name).mkdir(parents=True)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    base = tmp_path_factory.mktemp("comfyui")
    make_folders(base)
    checkpoint = tiny_checkpoint("sd1", seed=1, width_divisor=1, std=0.02)
    write_safetensors(base / "models/checkpoints/base.safetensors", checkpoint)
    write_quantised(base / "models/diffusion_models", checkpoint)
    if GGUF:
        shutil.copytree(GGUF, base / "custom_nodes/ComfyUI-GGUF")
    del checkpoint
    factors = tiny_lora("sd1", rank=4, alpha=2.0, seed=2, width_divisor=1, std=0.05)
    write_safetensors(base / "models/loras/hina.safetensors", factors)
    held = next(name for name in factors if name.startswith("lora_unet") and name.endswith("lora_up.weight"))
    factors[held].fill_(torch.nan)
    write_safetensors(base / "models/loras/broken.safetensors", factors)
    (base / "user/default").mkdir()
    (base / "user/default/comfy.settings.json").write_text('{"Comfy.Locale": "zh-TW"}', "utf-8")
    noise = torch.randn((1, 4, SIZE // 8, SIZE // 8), generator=torch.Generator().manual_seed(SEED))
    save_file(
        {"latent_tensor": noise * FIRST_LEVEL / SCALE, "latent_format_version_0": torch.zeros(0)},
        str(base / "input/noise.latent"),
    )
    try:
        results = run_graphs(base, graphs(), "--force-fp32", "--fp32-text-enc", "--fp32-vae")
        yield Ran(base, results)
    finally:
        shutil.rmtree(base)


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, over the largest number."""
    return float((one - other).abs().max() / other.abs().max())


def test_a_graph_draws_what_lathe_renders(ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.Tensor] = []
    decode = local.decode

    def keep(vae: Any, latents: torch.Tensor, *rest: Any) -> Any:
        made.append(latents.clone())
        return decode(vae, latents, *rest)

    monkeypatch.setattr(local, "decode", keep)
    loralathe.render(
        ran.file("models/checkpoints", "base"), prompt=f"<lora:hina:0.5:0.8:lbw={LIST}>{PROMPT}", seed=SEED,
        steps=STEPS, cfg=CFG, size=(SIZE, SIZE), sampler="Euler", output=tmp_path / "girl.png",
        lora_dir=ran.base / "models/loras", dtype="fp32", device="cpu",
    )  # fmt: skip
    (latents,) = made
    theirs = ran.latents("live")[0] * SCALE
    print("render and graph differ by", relative(theirs, latents))
    assert relative(theirs, latents) <= 1e-3
    assert relative(ran.latents("without")[0] * SCALE, latents) > 1e-2


@pytest.mark.parametrize(
    "kind", ["fp8", pytest.param("gguf", marks=pytest.mark.skipif(not GGUF, reason="no COMFYUI_GGUF"))]
)
def test_a_quantised_model_gets_the_same_lora(ran: Ran, kind: str) -> None:
    """As ComfyUI's own loader of LoRAs adds it: to the weights, widened, before they are rounded again."""
    ours, theirs = ran.latents(f"{kind}-ours"), ran.latents(f"{kind}-theirs")
    print(f"a LoRA on {kind}: ours and ComfyUI's differ by", relative(ours, theirs))
    assert relative(ours, theirs) <= 1e-3
    assert relative(ran.latents("without"), theirs) > 1e-2


def test_merge_to_model_draws_the_same(ran: Ran) -> None:
    print("live and merged differ by", relative(ran.latents("merged"), ran.latents("live")))
    assert relative(ran.latents("merged"), ran.latents("live")) <= 1e-3


def test_the_saved_file_is_that_of_lathe_merge(ran: Ran, tmp_path: Path) -> None:
    assert ran.results["save"]["error"] is None
    use = loralathe.AdapterUse(str(ran.file("models/loras", "hina")), te=0.5, unet=0.8, blocks=LIST)
    merged = tmp_path / "merged.safetensors"
    loralathe.merge(ran.file("models/checkpoints", "base"), use, output=merged)
    try:
        assert without_record(ran.file("output/checkpoints", "saved")) == without_record(merged)
    finally:
        merged.unlink()


def test_errors_are_ours_in_the_language_of_its_settings(ran: Ran) -> None:
    """`broken` is found while ComfyUI samples: a number that is none."""
    for name, message in (
        ("again", "overwrite"),
        ("foreign", "別的節點改過這個模型的權重"),
        ("mistake", "3 個分層權重的清單不適用於 SD 1.5"),
        ("broken", "張量含有 NaN 或無限大"),
    ):
        assert message in str(ran.results[name]["error"]), name


def test_studies_run_the_graph(ran: Ran) -> None:
    for name, sheet in (("grid", "grid.png"), ("blocks", f"blocks-{SEED}.png")):
        assert ran.results[name]["error"] is None
        (shown,) = (one["images"][0] for one in ran.results[name]["outputs"].values())
        assert shown["filename"] == sheet
        folder = ran.base / "output" / shown["subfolder"]
        assert (folder / sheet).is_file()
        cells = [file.read_bytes() for file in (folder / "cells").glob("*.png")]
        assert len(set(cells)) == len(cells) == {"grid": 2, "blocks": 3}[name]


def test_looking_shows_text(ran: Ran) -> None:
    assert ran.results["looks"]["error"] is None
    shown = ran.results["looks"]["outputs"]
    assert "SD 1.5 的 LoRA" in shown["1"]["text"][0]
    assert "ComfyUI: 264/264" in shown["2"]["text"][0]


def test_comfyui_sees_the_schema_that_the_stand_in_sees(ran: Ran, tmp_path: Path) -> None:
    seen = ran.json("nodes")
    with pytest.MonkeyPatch.context() as patch:
        host = Host(tmp_path / "base")
        for file in ("models/checkpoints/base.safetensors", "models/loras/hina.safetensors"):
            shutil.copy(ran.base / "models/loras/hina.safetensors", host.base / file)
        in_host(host, patch.setitem)
        schemas = {one.__name__: checked(one) for one in host.load()}
    assert seen.keys() == schemas.keys()
    for name, schema in schemas.items():
        theirs = {**seen[name]["input"].get("required", {}), **seen[name]["input"].get("optional", {})}
        assert {one.id: one.io_type for one in schema.inputs} == {
            id: kind for id, (kind, _) in theirs.items()
        }
        assert {one.id for one in schema.inputs if one.optional} == set(
            seen[name]["input"].get("optional", {})
        )
        assert [one.display_name for one in schema.outputs] == seen[name]["output_name"]
        assert [one.io_type for one in schema.outputs] == seen[name]["output"]
        assert (schema.display_name, schema.category) == (seen[name]["display_name"], seen[name]["category"])
        assert schema.is_output_node == seen[name]["output_node"]
        hidden = {one.name for one in schema.hidden}
        assert hidden <= set(seen[name]["input"].get("hidden", {}))
    preset = seen["LatheLora"]["input"]["required"]["preset"][1]
    assert preset["options"][0] == AS_WRITTEN


def test_comfyui_reads_the_chinese(ran: Ran) -> None:
    nodes = ran.json("translations")["zh-TW"]["nodeDefs"]
    assert nodes["LatheLora"]["display_name"] == "LoRA 與分層權重"
