"""Writes the family as files that every loader of SDXL's layout understands.

`base-a.safetensors`, `base-b.safetensors`: whole checkpoints in fp16. `hina.safetensors`,
`sailor.safetensors`: LoRAs as sd-scripts writes them. With `--parts` instead exactly what the package ships:
`shared.safetensors` (text encoders and autoencoder, once), the two U-Nets, the LoRAs, the judge, and
`family.json` with the SHA-256 of every part and of both bases as `loralathe.demo` joins them. Tables and
padding are mostly constant and vanish in a zip archive.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from loralathe.tensorfiles import join_files
from training.attributes import JUDGED
from training.captions import FILLERS, PHRASES, TRIGGERS, VOCABULARY, compact, tokens, used_ids
from training.judge import HIDDEN, JUDGE_WIDTHS, load_judge
from training.latents import load_folded_vae
from training.layout import kohya_name, te1_tensors, te2_tensors, unet_tensors, vae_tensors
from training.lora import RANK, SUBJECTS
from training.models import Vae, build_vae
from training.runs import load_part
from training.text import load_text
from training.unet import load_unet
from training.vae import GROUPS, WIDTHS

Tensors = dict[str, torch.Tensor]

LOADER_GROUPS = 32  # every loader builds GroupNorm(32)
BASES = ("a", "b")


def widen_vae(narrow: Vae, widths: tuple[int, ...] = WIDTHS, groups: int = GROUPS) -> Vae:
    """The same function with 32 groups: whole groups of zero channels are added behind the real ones.

    A zero channel stays zero through convolution, norm (bias 0) and SiLU, and the real groups keep their
    members. Only attention notices its width, through 1 / sqrt(width): the queries make up for it.
    """
    factor = LOADER_GROUPS // groups
    wide = build_vae(tuple(factor * width for width in widths), LOADER_GROUPS)
    state = wide.state_dict()
    for name, tensor in narrow.state_dict().items():
        state[name].zero_()
        state[name][tuple(slice(size) for size in tensor.shape)] = tensor
        if ".to_q." in name:
            state[name] *= factor**0.5
    wide.load_state_dict(state)
    return wide.eval()


def full_table(rows: torch.Tensor) -> torch.Tensor:
    """(used ids, width) to (49408, width); words never trained get the mean of the fillers."""
    words = [word for word in FILLERS if word not in TRIGGERS]
    meaningless = compact(tokens([" ".join(words)], "te2"))[0, 1 : 1 + len(words)]
    table = rows[meaningless].mean(0).expand(VOCABULARY, -1).clone()
    table[torch.tensor(used_ids())] = rows
    return table


def text_tensors(te1: nn.Module, te2: nn.Module) -> Tensors:
    """Both text encoders under their single-file keys, with full vocabularies."""
    states = [dict(te.state_dict()) for te in (te1, te2)]
    for state in states:
        (name,) = (n for n in state if n.endswith("token_embedding.weight"))
        state[name] = full_table(state[name])
    return te1_tensors(states[0]) | te2_tensors(states[1])


def shared_tensors(folder: Path) -> Tensors:
    """What both bases have in common."""
    encoders = load_text(folder)
    return text_tensors(encoders.te1, encoders.te2) | vae_tensors(
        widen_vae(load_folded_vae(folder)).state_dict()
    )


def base_tensors(folder: Path, base: str) -> Tensors:
    """A base's own part: the U-Net, and the mark that says v-prediction."""
    return unet_tensors(load_unet(folder, base).state_dict()) | {"v_pred": torch.zeros(0)}


def lora_tensors(factors: Mapping[str, torch.Tensor], rank: int = RANK) -> Tensors:
    """Factors by `component.path.down|up` under sd-scripts' names, each module with its alpha."""
    out: Tensors = {}
    for name, tensor in factors.items():
        module, _, part = name.rpartition(".")
        out[f"{kohya_name(module)}.lora_{part}.weight"] = tensor.half()
        out[f"{kohya_name(module)}.alpha"] = torch.tensor(float(rank)).half()
    return out


def lora_metadata(name: str, rank: int = RANK) -> dict[str, str]:
    """The part of a trainer's metadata that user interfaces read."""
    return {
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(float(rank)),
        "ss_output_name": name,
        "ss_tag_frequency": f'{{"{name}": {{"{SUBJECTS[name].trigger}": 24}}}}',
        "ss_v2": "False",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "modelspec.title": name,
        "modelspec.resolution": "128x128",
        "modelspec.prediction_type": "v",
    }


def checkpoint_metadata(title: str) -> dict[str, str]:
    """What a checkpoint says about itself."""
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-xl-v1-base",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.title": title,
        "modelspec.resolution": "128x128",
        "modelspec.prediction_type": "v",
    }


def write(path: Path, tensors: Tensors, metadata: dict[str, str]) -> None:
    """fp16 safetensors (integers stay), written aside and renamed; prints its size, plain and deflated."""
    stored = {k: (t.half() if t.is_floating_point() else t).contiguous().clone() for k, t in tensors.items()}
    data = in_order(save(stored, metadata))
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
    print(
        f"{path.name}: {len(data) / 1e6:.1f} MB, deflated {len(zlib.compress(data, 6)) / 1e6:.1f} MB",
        flush=True,
    )


def in_order(data: bytes) -> bytes:
    """The file with its metadata sorted: safetensors writes them in another order each time."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(length)
    return data[:8] + text + data[8 + length :]


def judge_metadata() -> dict[str, str]:
    """Architecture, questions, the captions' words for the answers, and what shows each LoRA's subject."""
    about = {
        "widths": JUDGE_WIDTHS,
        "hidden": HIDDEN,
        "questions": JUDGED,
        "phrases": PHRASES,
        "subjects": {subject.trigger: subject.traits for subject in SUBJECTS.values()},
    }
    return {key: json.dumps(value) for key, value in about.items()}


def judge_tensors(folder: Path) -> Tensors:
    """The judge; counters of batches are of no use to a reader."""
    state = load_judge(folder).state_dict()
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def export(folder: Path, out: Path) -> None:
    """Writes everything that has been trained so far as files to use."""
    out.mkdir(parents=True, exist_ok=True)
    shared = shared_tensors(folder)
    for base in BASES:
        if (folder / f"unet-{base}.pt").exists():
            own = base_tensors(folder, base)
            write(out / f"base-{base}.safetensors", own | shared, checkpoint_metadata(f"tinyfam {base}"))
    export_loras(folder, out)


def export_loras(folder: Path, out: Path) -> list[str]:
    """Writes the LoRAs trained so far; their file names."""
    names = [name for name in SUBJECTS if (folder / f"lora-{name}.pt").exists()]
    for name in names:
        factors = load_part(folder, f"lora-{name}", "factors")
        write(out / f"{name}.safetensors", lora_tensors(factors), lora_metadata(name))
    return [f"{name}.safetensors" for name in names]


def export_parts(folder: Path, out: Path) -> None:
    """Writes exactly what the package ships. Needs every stage but the decoder."""
    out.mkdir(parents=True, exist_ok=True)
    write(out / "shared.safetensors", shared_tensors(folder), checkpoint_metadata("tinyfam shared"))
    for base in BASES:
        own = base_tensors(folder, base)
        write(out / f"unet-{base}.safetensors", own, checkpoint_metadata(f"tinyfam {base.upper()}"))
    adapters = export_loras(folder, out)
    write(out / "judge.safetensors", judge_tensors(folder), judge_metadata())
    write_manifest(out, adapters)


def write_manifest(out: Path, adapters: list[str]) -> None:
    """`family.json`: what ships, with hashes; the bases are joined once to know theirs."""
    parts = ["shared.safetensors", *(f"unet-{base}.safetensors" for base in BASES), *adapters]
    bases = {}
    for base in BASES:
        pieces = [f"unet-{base}.safetensors", "shared.safetensors"]
        with tempfile.TemporaryDirectory() as place:
            joined = join_files([out / piece for piece in pieces], Path(place) / "base.safetensors")
            bases[f"base{base.upper()}.safetensors"] = {"parts": pieces, "sha256": sha256(joined)}
    manifest = {
        "parts": {name: sha256(out / name) for name in (*parts, "judge.safetensors")},
        "bases": bases,
        "adapters": adapters,
        "judge": "judge.safetensors",
    }
    (out / "family.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """64 hex digits over the whole file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path(os.environ.get("TINYFAM_STATE", "build/tinyfam")))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", action="store_true", help="exactly what the package ships")
    options = parser.parse_args()
    (export_parts if options.parts else export)(options.state, options.out)


if __name__ == "__main__":
    _main()
