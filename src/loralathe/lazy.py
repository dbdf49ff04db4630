"""Faces of packages whose names are imported when they are used, so that importing a package stays quick."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module


def lazy_names(
    package: str, homes: Mapping[str, Iterable[str]], open_modules: Sequence[str] = ()
) -> Callable[[str], object]:
    """The `__getattr__` of a package: module inside it → the names that it gives to the face.

    open_modules: those that give all names of their `__all__`; they are imported only for names that
    `homes` lacks, one after the other.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def get(name: str) -> object:
        if name in home_of:
            return getattr(import_module(f"{package}.{home_of[name]}"), name)
        modules = (import_module(f"{package}.{home}") for home in open_modules)
        if name == "__all__":
            return sorted({*home_of, *(listed for module in modules for listed in module.__all__)})
        for module in modules if not name.startswith("_") else ():
            if name in module.__all__:
                return getattr(module, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get
