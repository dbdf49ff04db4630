"""Randomized against thin SVD over the layers of SDXL: seconds, ratio and excess error, one of each shape.

    python benchmarks/lowrank_svd.py [--rank 64] [--spectrum white|0.5|1|lora] [--threads 1] [--conv]

Times are of one module, the best of `--repeat` runs for the randomized one and a single run for the thin one
(its time hardly varies); totals weigh them with the number of such modules. `--no-thin` skips the thin SVDs,
and with them ratio and excess.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from loralathe.lowrank import SVD, randomized_svd

SDXL_LINEAR = {
    (640, 640): 70, (640, 2048): 20, (640, 2560): 10, (5120, 640): 10, (1280, 1280): 500, (1280, 2048): 120,
    (1280, 5120): 92, (5120, 1280): 32, (10240, 1280): 60, (768, 768): 48, (768, 3072): 12, (3072, 768): 12,
}  # fmt: skip
"""(out, in) of the 986 linear layers in a LoRA of SDXL, both text encoders included, and how many of each."""

SDXL_CONV = {
    (320, 2880): 8, (320, 5760): 2, (320, 8640): 1, (640, 2880): 1, (640, 5760): 8, (640, 8640): 1,
    (640, 11520): 1, (640, 17280): 1, (1280, 5760): 1, (1280, 11520): 11, (1280, 17280): 1, (1280, 23040): 2,
}  # fmt: skip
"""The 38 convolutions of 3 × 3, flattened to (out, in·9)."""


def sample(shape: tuple[int, int], spectrum: str) -> Tensor:
    """A random matrix: white noise, singular values i^-p, or rank 32 over a tenth of noise ("lora")."""
    generator = torch.Generator().manual_seed(math.prod(shape))
    m, n = shape
    noise = torch.randn(m, n, generator=generator)
    if spectrum == "white":
        return noise
    if spectrum == "lora":
        up, down = torch.randn(m, 32, generator=generator), torch.randn(32, n, generator=generator)
        return up @ down / 32**0.5 + 0.1 * noise
    k = min(m, n)
    left = torch.linalg.qr(torch.randn(m, k, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(n, k, generator=generator)).Q
    return (left * torch.arange(1, k + 1) ** -float(spectrum)) @ right.T


def timed(run: Callable[[], SVD], repeat: int) -> tuple[float, SVD]:
    """Seconds of the best of `repeat` runs, and the result."""
    best = math.inf
    for _ in range(repeat):
        start = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - start)
    return best, result


def error(A: Tensor, svd: SVD) -> float:
    """‖A − U·S·Vh‖_F, the product taken in fp32, the norm in fp64."""
    return float(torch.linalg.vector_norm(A - (svd.U * svd.S) @ svd.Vh, dtype=torch.float64))


def main() -> None:
    """Print the table and the totals."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--spectrum", default="white", help="white, lora, or the exponent p of i^-p")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--conv", action="store_true", help="the 3 × 3 convolutions too")
    parser.add_argument("--no-thin", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rank = options.rank
    layers = SDXL_LINEAR | (SDXL_CONV if options.conv else {})
    print(f"rank {rank}, spectrum {options.spectrum}, {options.threads} thread(s)")
    print(f"{'shape':>14} {'count':>5} {'ours ms':>9} {'thin ms':>9} {'ratio':>6} {'excess':>8}")
    ours = thin = 0.0
    for shape, count in layers.items():
        A = sample(shape, options.spectrum)
        seconds, found = timed(lambda A=A: randomized_svd(A, rank), options.repeat)  # type: ignore[misc]
        ours += count * seconds
        line = f"{shape[0]:>7}×{shape[1]:<6} {count:>5} {1e3 * seconds:>9.1f}"
        if not options.no_thin:
            slow, best = timed(lambda A=A: SVD(*torch.linalg.svd(A, full_matrices=False)), 1)  # type: ignore[misc]
            thin += count * slow
            excess = error(A, found) / float(best.S[rank:].double().norm()) - 1
            line += f" {1e3 * slow:>9.0f} {slow / seconds:>6.1f} {100 * excess:>7.3f}%"
        print(line, flush=True)
    print(f"all {sum(layers.values())} modules: {ours:.1f} s", end="")
    print("" if options.no_thin else f", thin SVDs {thin:.0f} s: {thin / ours:.1f} times faster")


if __name__ == "__main__":
    main()
