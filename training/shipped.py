"""The state that `training.lora` needs, read back from the files that ship: no earlier stage has to run.

    python -m training.shipped            # then: python -m training.lora, python -m training.epochs

It is `training.export` backwards: the trained rows out of the full vocabulary, the autoencoder's real
channels out of the widened ones, names back to diffusers' and transformers'. Values are those of the files,
rounded to fp16.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from loralathe.demo.family import find_family
from training.captions import used_ids
from training.export import LOADER_GROUPS
from training.judge import Judge
from training.layout import TE1, TE2, UNET, VAE, te2_name, unet_name, vae_name
from training.models import Vae, build_vae
from training.runs import stage_arguments, start_stage
from training.text import TextEncoders
from training.unet import make_unet
from training.vae import GROUPS, WIDTHS

Tensors = Mapping[str, torch.Tensor]


def unet_from(file: Tensors) -> nn.Module:
    """A base's U-Net."""
    unet = make_unet()
    unet.load_state_dict({name: file[UNET + unet_name(name)].float() for name in unet.state_dict()})
    return unet


def vae_from(file: Tensors) -> Vae:
    """The autoencoder without the zero channels that the export adds."""
    vae = build_vae(WIDTHS, GROUPS)
    state = {}
    for name, tensor in vae.state_dict().items():
        found = file[VAE + vae_name(name)].float()
        if found.ndim == 4 and tensor.ndim == 2:
            found = found[:, :, 0, 0]
        state[name] = found[tuple(slice(size) for size in tensor.shape)]
        if ".to_q." in name:
            state[name] = state[name] / (LOADER_GROUPS // GROUPS) ** 0.5
    vae.load_state_dict(state)
    return vae


def text_from(file: Tensors) -> TextEncoders:
    """Both text encoders with the rows of the captions' vocabulary."""
    encoders = TextEncoders()
    rows = torch.tensor(used_ids())
    for encoder, find in ((encoders.te1, _te1), (encoders.te2, _te2)):
        state = {}
        for name in encoder.state_dict():
            found = find(file, name.removeprefix("text_model."))
            state[name] = (found[rows] if name.endswith("token_embedding.weight") else found).float()
        encoder.load_state_dict(state)
    return encoders


def judge_from(file: Tensors) -> Judge:
    """The judge; what counts batches is left as it is."""
    judge = Judge()
    judge.load_state_dict({**judge.state_dict(), **{name: t.float() for name, t in file.items()}})
    return judge


def _te1(file: Tensors, name: str) -> torch.Tensor:
    return file[TE1 + name]


def _te2(file: Tensors, name: str) -> torch.Tensor:
    if name == "text_projection.weight":
        return file[TE2 + "text_projection"].T.contiguous()
    for at, part in enumerate("qkv"):
        if f".self_attn.{part}_proj." in name:
            block, _, end = name.partition(f".self_attn.{part}_proj.")
            block = block.replace("encoder.layers", "transformer.resblocks")
            return file[f"{TE2}{block}.attn.in_proj_{end}"].chunk(3)[at]
    return file[TE2 + te2_name(name)]


def write_state(folder: Path) -> None:
    """Writes the parts that `training.lora` loads into `folder`, as finished stages."""
    family = find_family(None)

    def read(name: str) -> Tensors:
        return load_file(family.part(name))

    shared = read("shared.safetensors")
    stages: dict[str, tuple[str, nn.Module]] = {
        "unet-a": ("average", unet_from(read("unet-a.safetensors"))),
        "unet-b": ("average", unet_from(read("unet-b.safetensors"))),
        "text": ("encoders", text_from(shared)),
        "judge": ("model", judge_from(read(family.judge))),
    }
    for stage, (part, model) in stages.items():
        torch.save({"step": 0, "parts": {part: model.state_dict()}}, folder / f"{stage}.pt")
    vae = vae_from(shared)
    torch.save({"step": 0, "parts": {"model": vae.state_dict()}}, folder / "vae.pt")
    torch.save(vae.state_dict(), folder / "vae-folded.pt")


if __name__ == "__main__":
    parser = stage_arguments("shipped", 0, __doc__)
    write_state(start_stage("shipped", parser.parse_args()).folder)
