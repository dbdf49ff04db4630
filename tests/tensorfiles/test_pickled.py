"""torch.save's files read as data: every tensor as torch.load gives it, wherever and however it lies."""

from __future__ import annotations

import collections
import pickle
import struct
import subprocess
import sys
import threading
import types
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from loralathe.errors import InputError
from loralathe.tensorfiles import (
    CheckpointWriter,
    TensorFile,
    TensorSpec,
    autov1,
    content_hash,
    model_hash,
    open_tensorfile,
    read_header,
    to_torch_dtype,
)

SOURCE = Path(__file__).resolve().parents[2] / "src"
DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
          "complex64", "uint16", "uint32", "float8_e4m3fn", "float8_e5m2"]  # fmt: skip
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(path: Path, value: object, zipped: bool = True, **options: int) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=zipped, **options)
    return path


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal in dtype, shape and every bit."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return raw(one) == raw(other)


def raw(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor in a row; `contiguous` would keep odd strides of axes of size 1."""
    flat = tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def check(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with open_tensorfile(path) as file:
        assert file.format == "pickle"
        assert set(file.header.tensors) == set(tensors)
        for name, tensor in tensors.items():
            assert same(file.read(name), tensor), name
            assert bytes(file.read_bytes(name)) == raw(tensor), name


@FORMATS
@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype(tmp_path: Path, name: str, zipped: bool) -> None:
    dtype = getattr(torch, name)
    values = torch.arange(6).reshape(2, 3).to(torch.float32).to(dtype)
    tensors = {"a": values, "scalar": values[1, 2].clone(), "empty": torch.empty(0, 3, dtype=dtype)}
    path = save(tmp_path / "x.ckpt", tensors, zipped)
    check(path, tensors)
    assert to_torch_dtype(read_header(path).tensors["a"].dtype) == dtype


@FORMATS
def test_views_of_all_sorts(tmp_path: Path, zipped: bool) -> None:
    base = torch.randn(40, 60)
    tensors = {
        "transposed": base.t(),
        "rows": base[10:20],
        "columns": base[:, 7:9],
        "every second": base[::2, ::3],
        "expanded": base[:1].expand(5, 60),
        "scalar": base[3, 4],
        "whole": base,
        "channels last": torch.randn(6, 5, 3, 3).to(memory_format=torch.channels_last),
        "permuted": torch.randn(4, 5, 6).permute(2, 0, 1),
        "thin": torch.randn(5, 1).t(),
        "far apart": torch.randn(70, 70, 8)[:, 5, 2],
    }
    check(save(tmp_path / "x.ckpt", tensors, zipped), tensors)


@given(data=st.data())
def test_any_view_in_any_rows(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    tensor = torch.arange(torch.Size(shape).numel(), dtype=torch.int16).reshape(shape)
    tensor = tensor.permute(data.draw(st.permutations(range(len(shape)))))
    for axis in range(tensor.ndim):
        start = data.draw(st.integers(0, tensor.shape[axis] - 1))
        step = data.draw(st.integers(1, 3))
        tensor = tensor[(slice(None),) * axis + (slice(start, None, step),)]
    path = save(tmp_path_factory.mktemp("view") / "x.pt", {"t": tensor})
    first = data.draw(st.integers(0, tensor.shape[0]))
    last = data.draw(st.integers(first, tensor.shape[0]))
    with open_tensorfile(path) as file:
        assert same(rows_of(file, first, last), tensor[first:last])
        flat = bytes(file.read_bytes("t"))
        begin = data.draw(st.integers(0, len(flat)))
        end = data.draw(st.integers(begin, len(flat)))
        part = bytearray(end - begin)
        file.readinto(file.info("t"), memoryview(part), begin)
        assert bytes(part) == flat[begin:end]


def rows_of(file: TensorFile, first: int, last: int) -> torch.Tensor:
    """Rows [first, last) of the tensor 't', read from their place, as the engine reads them."""
    info = file.info("t")
    row = info.nbytes // info.shape[0] if info.shape[0] else 0
    data = bytearray((last - first) * row)
    file.readinto(info, memoryview(data), first * row)
    shape = (last - first, *info.shape[1:])
    dtype = to_torch_dtype(info.dtype)
    return torch.frombuffer(data, dtype=dtype).reshape(shape) if data else torch.empty(shape, dtype=dtype)


def test_a_large_transposed_tensor_from_many_threads(tmp_path: Path) -> None:
    tensor = torch.randn(700, 900).half().t()
    path = save(tmp_path / "x.pt", {"t": tensor})
    found: dict[int, torch.Tensor] = {}
    with open_tensorfile(path) as file:

        def read(start: int) -> None:
            found[start] = rows_of(file, start, start + 100)

        threads = [threading.Thread(target=read, args=(start,)) for start in range(0, 900, 100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert same(torch.cat([found[start] for start in sorted(found)]), tensor)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@FORMATS
def test_every_pickle_protocol(tmp_path: Path, protocol: int, zipped: bool) -> None:
    tensors = {"a": torch.randn(3), "b" * 300: torch.randn(2).bfloat16()}
    value = {
        "state_dict": collections.OrderedDict(tensors),
        "lr": 1e-4,
        "many": list(range(300)),
        "big": 7**99,
    }
    check(save(tmp_path / "x.pt", value, zipped, pickle_protocol=protocol), tensors)


class ModelCheckpoint:
    """Stands for Lightning's."""

    def __init__(self) -> None:
        self.best_model_path = "x.ckpt"
        self.best_k_models: dict[str, object] = {"a": torch.tensor(0.5)}


def lightning_like(path: Path, tensors: dict[str, torch.Tensor], patch: pytest.MonkeyPatch) -> Path:
    """A training checkpoint with all that trainers leave in it, pickled under Lightning's own names."""
    import numpy as np

    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])
    optimizer.param_groups[0]["params"][0].grad = torch.ones(3)
    optimizer.step()
    module = "pytorch_lightning.callbacks.model_checkpoint"
    patch.setattr(ModelCheckpoint, "__module__", module)
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module):
        fake = types.ModuleType(name)
        fake.__path__ = []
        fake.ModelCheckpoint = ModelCheckpoint  # type: ignore[attr-defined]
        patch.setitem(sys.modules, name, fake)
    state = torch.nn.Linear(2, 2).state_dict()  # an OrderedDict with an attribute, which pickles as BUILD
    state.clear()
    state.update(tensors)
    value = {
        "epoch": 3,
        "global_step": 840000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": state,
        "callbacks": {ModelCheckpoint: {"best": np.float64(0.1), "at": ModelCheckpoint()}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [{"base_lrs": [1e-4], "last": np.arange(3)}],
        "hyper_parameters": collections.defaultdict(list, {"a": {1, 2}, "b": Path("/tmp/x")}),
    }
    torch.save(value, path)
    return path


def test_a_training_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {"model.a": torch.randn(4, 3), "model.b": torch.randn(3).half()}
    path = lightning_like(tmp_path / "x.ckpt", tensors, monkeypatch)
    check(path, tensors)
    with open_tensorfile(path) as file:
        assert {"callbacks", "optimizer_states", "global_step"} <= set(file.left_out)
        assert file.lost == 4


@pytest.mark.parametrize("wrap", ["state_dict", "model", "module", "params", "model_state_dict"])
def test_wrappers(tmp_path: Path, wrap: str) -> None:
    tensors = {"w": torch.randn(2, 2)}
    check(save(tmp_path / "1.pt", {wrap: tensors}), tensors)
    check(save(tmp_path / "2.pt", {"model": {wrap: tensors, "step": 1}, "ema": None}), tensors)
    # A tensor of that name is a tensor.
    check(save(tmp_path / "3.pt", {wrap: torch.ones(2)}), {wrap: torch.ones(2)})


def test_parameters_attributes_and_what_is_no_tensor(tmp_path: Path) -> None:
    marked = torch.randn(2)
    marked.note = "made by hand"  # type: ignore[attr-defined]
    tensors = {"p": torch.nn.Parameter(torch.randn(3)), "marked": marked, "buffer": torch.ones(1)}
    path = save(
        tmp_path / "x.pt", {**tensors, "global_step": 5, "shape": torch.Size([1]), "d": torch.float16}
    )
    check(path, {name: tensor.detach() for name, tensor in tensors.items()})
    with open_tensorfile(path) as file:
        assert file.left_out == ("global_step", "shape", "d")


def test_tied_weights_are_two_tensors(tmp_path: Path) -> None:
    weight = torch.randn(5, 5)
    check(save(tmp_path / "x.pt", {"a": weight, "b": weight}), {"a": weight, "b": weight})


def test_text_of_python_2(tmp_path: Path) -> None:
    """SHORT_BINSTRING keys, as the oldest files have them; the pickle is edited by hand."""
    path = save(tmp_path / "x.pt", {"weight": torch.ones(2)})
    rewrite(path, lambda data: data.replace(b"X\x06\x00\x00\x00weight", b"U\x06weight"))
    check(path, {"weight": torch.ones(2)})


def rewrite(path: Path, edit: object, entry: str = "data.pkl", method: int = zipfile.ZIP_STORED) -> None:
    """Pack the archive anew by another hand (Python's), one entry changed."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", method) as new:
        for name, data in parts.items():
            new.writestr(name, edit(data) if name.endswith(entry) else data)  # type: ignore[operator]


def test_big_endian(tmp_path: Path) -> None:
    tensors = {
        "f": torch.randn(3, 2),
        "h": torch.randn(4).half(),
        "u": torch.arange(3, dtype=torch.uint8),
        "c": torch.randn(2, dtype=torch.complex64),
        "t": torch.randn(3, 2).t(),
        "s": torch.tensor(2.5),
    }
    path = tmp_path / "x.pt"
    torch.save(tensors, path)
    swapped = {}
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    sizes = {"0": 4, "1": 2, "2": 1, "3": 4, "4": 4, "5": 4}
    for name, data in parts.items():
        key = name.rpartition("/data/")[2]
        step = sizes.get(key, 1) if "/data/" in name else 1
        swapped[name] = b"".join(data[i : i + step][::-1] for i in range(0, len(data), step))
        if name.endswith("byteorder"):
            swapped[name] = b"big"
    with zipfile.ZipFile(path, "w") as new:
        for name, data in swapped.items():
            new.writestr(name, data)
    check(path, tensors)


def test_zip64_fields_and_a_directory_without_checksums(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(30)}
    path = save(tmp_path / "x.pt", tensors)
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in parts.items():
            with new.open(zipfile.ZipInfo(name), "w", force_zip64=True) as out:
                out.write(data)
    check(path, tensors)
    options = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        check(save(tmp_path / "y.pt", tensors), tensors)
    finally:
        torch.serialization.set_crc32_options(options)


def test_a_zip64_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory whose place is given in 64 bits, as from 4 GiB on: the short fields are full."""
    tensors = {"a": torch.randn(3)}
    path = save(tmp_path / "x.pt", tensors)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    rewrite(path, lambda data: data)
    data = bytearray(path.read_bytes())
    assert b"PK\x06\x06" in data
    data[-14:-2] = b"\xff" * 12  # count, size and offset
    path.write_bytes(data)
    check(path, tensors)
    path.write_bytes(data.replace(b"PK\x06\x07", b"PK\x06\x08"))
    assert "no sound directory" in refused(path).what


def test_copied_tensors_are_the_bytes_of_a_safetensors_file(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(50, 70).t(), "b": torch.randn(9).half(), "c": torch.arange(5)}
    path = save(tmp_path / "x.ckpt", tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "x.safetensors")
    wanted = read_header(tmp_path / "x.safetensors").tensors.values()
    specs = [TensorSpec(info.name, info.dtype, info.shape) for info in wanted]
    with open_tensorfile(path) as file, CheckpointWriter(tmp_path / "y.safetensors", specs, {}) as writer:
        assert list(file.header.tensors) == [spec.name for spec in specs]
        for spec in specs:
            writer.copy_from(spec.name, file, spec.name)
        writer.commit()
    assert model_hash(tmp_path / "y.safetensors") == model_hash(tmp_path / "x.safetensors")
    assert (tmp_path / "y.safetensors").read_bytes() == (tmp_path / "x.safetensors").read_bytes()


def test_hashes_are_of_the_file(tmp_path: Path) -> None:
    import hashlib

    path = save(tmp_path / "x.ckpt", {"a": torch.zeros(300_000)})
    data = path.read_bytes()
    assert content_hash(path, cache=False) == hashlib.sha256(data).hexdigest()
    assert autov1(path) == hashlib.sha256(data[1 << 20 : (1 << 20) + (1 << 16)]).hexdigest()[:8]


def test_the_structure_is_read_without_torch_and_without_the_data(tmp_path: Path) -> None:
    path = save(tmp_path / "x.ckpt", {"state_dict": {"a": torch.zeros(1 << 22), "b": torch.ones(3).half()}})
    code = (
        "import sys; from loralathe.tensorfiles import open_tensorfile as o; f = o(sys.argv[1]);"
        "print(sorted(f.header.tensors), any(m in sys.modules for m in ('torch', 'numpy', 'pickle')))"
    )
    command = [sys.executable, "-c", code, str(path)]
    run = subprocess.run(command, env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["['a',", "'b']", "False"]


# What is refused


def refused(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        open_tensorfile(path)
    error = caught.value
    assert error.fix
    assert str(path) in str(error.where)
    return error


@FORMATS
def test_cut_anywhere(tmp_path: Path, zipped: bool) -> None:
    path = save(tmp_path / "x.ckpt", {"a": torch.randn(100), "b": torch.randn(50).half()}, zipped)
    data = path.read_bytes()
    for length in range(4, len(data), 7):
        path.write_bytes(data[:length])
        refused(path)


@FORMATS
def test_any_byte_may_be_wrong(tmp_path: Path, zipped: bool) -> None:
    """Whatever a flipped byte does, it is read or refused; never anything else."""
    path = save(tmp_path / "x.ckpt", {"a": torch.randn(4), "b": torch.randn(2, 3).t()}, zipped)
    data = path.read_bytes()
    for at in range(0, len(data), 5):
        for mask in (0xFF, 0x01):
            broken = bytearray(data)
            broken[at] ^= mask
            path.write_bytes(broken)
            try:
                with open_tensorfile(path) as file:
                    for name in file.header.tensors:
                        file.read_bytes(name)
            except InputError:
                continue


def test_compressed_encrypted_and_foreign_archives(tmp_path: Path) -> None:
    path = save(tmp_path / "x.ckpt", {"a": torch.zeros(1000)})
    rewrite(path, lambda data: data, method=zipfile.ZIP_DEFLATED)
    assert "compressed" in refused(path).what
    assert "torch.save does not compress" in str(refused(path).fix)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/readme.txt", "hello")
    assert refused(path).what == "a zip archive, but not one of torch.save: it holds model/readme.txt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}.")
        archive.writestr("model/constants.pkl", b"")
    assert "TorchScript" in refused(path).what


def test_a_checksum_that_is_wrong(tmp_path: Path) -> None:
    path = save(tmp_path / "x.ckpt", {"weight": torch.zeros(3)})
    path.write_bytes(path.read_bytes().replace(b"weight", b"weighs", 1))
    assert "checksum" in refused(path).what


def test_missing_and_short_storages(tmp_path: Path) -> None:
    path = save(tmp_path / "x.ckpt", {"a": torch.zeros(3)})
    rewrite(path, lambda data: b"1234", entry="/data/0")
    error = refused(path)
    assert (error.what, error.where) == (
        "its storage should have 12 bytes, the file holds 4", f"{path}, tensor 'a'",
    )  # fmt: skip
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist() if not name.endswith("/0")}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in parts.items():
            new.writestr(name, data)
    assert "there is no entry 'x/data/0'" in refused(path).what


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ([torch.ones(2)], "a list of tensors without names, as lora_diffusion saves LoRAs"),
        ([1, 2], "not hold a dictionary of tensors"),
        ({}, "not hold a dictionary of tensors"),
        ({"a": 1}, "not hold a dictionary of tensors"),
        ({"string_to_param": {"*": torch.ones(2, 3)}, "name": "x"}, "a textual-inversion embedding"),
        ({"a": torch.ones(2, dtype=torch.complex128)}, "complex128|ComplexDouble"),
        ({"a": torch.ones(2, dtype=torch.complex64).conj()}, "conjugated"),
        ({"__metadata__": torch.ones(2)}, "__metadata__"),
    ],
)
def test_what_is_no_model(tmp_path: Path, value: object, what: str) -> None:
    with pytest.raises(InputError, match=what):
        open_tensorfile(save(tmp_path / "x.pt", value))


def test_pickles_of_others(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(pickle.dumps({"a": [1, 2]}, protocol=2))
    assert refused(path).what == "a pickle that torch.save did not write"
    path.write_bytes(b"x.pt".ljust(257, b"\0") + b"ustar\x0000" + bytes(300))
    assert "tar archive" in refused(path).what
    path.write_bytes(struct.pack("<Q", 1 << 40) + bytes(range(200, 250)))
    assert refused(path).what == "neither a file of torch.save nor of safetensors"
