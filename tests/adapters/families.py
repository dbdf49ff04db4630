from dataclasses import dataclass


def numbered(prefix: str, stop: int, start: int = 0) -> tuple[str, ...]:
    return tuple(f"{prefix}{n:02d}" for n in range(start, stop))


@dataclass(frozen=True)
class Family:
    id: str
    label: str
    short_blocks: tuple[str, ...]
    long_blocks: tuple[str, ...]


SD1 = Family(
    "sd1",
    "SD 1.5",
    ("BASE", "IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "MID", *numbered("OUT", 12, 3)),
    ("BASE", *numbered("IN", 12), "MID", *numbered("OUT", 12)),
)
SDXL = Family(
    "sdxl",
    "SDXL",
    ("BASE", "IN04", "IN05", "IN07", "IN08", "MID", *numbered("OUT", 6)),
    ("BASE", *numbered("IN", 9), "MID", *numbered("OUT", 9)),
)
FLUX = Family(
    "flux",
    "Flux",
    (*numbered("D", 19), *numbered("S", 38)),
    ("CLIP", "T5", "IN", *numbered("D", 19), *numbered("S", 38), "OUT"),
)
