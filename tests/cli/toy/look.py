"""The function of `lathe largest`, as it would stand in `src/loralathe/api/look.py`."""

from loralathe.api.arguments import File, as_path


def largest(path: File) -> str:
    """The name of the largest tensor of a file."""
    from loralathe.tensorfiles import read_header

    tensors = read_header(as_path(path, "tensors")).tensors
    return max(tensors, key=lambda name: tensors[name].nbytes)
