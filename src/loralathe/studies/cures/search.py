"""The strongest damping that keeps the likeness: levels are tried by halving, each on paired seeds.

Likeness falls as damping grows, and so does bleed. So a level is enough for half of the ladder: if its
likeness surely stays within what may be lost (the interval of the paired difference, which holds at every
look, lies above it), weaker ones are not tried; if it surely falls below, stronger ones are not. Where the
seeds do not tell, the mean does. Of the levels that keep the likeness the one with the least bleed is taken,
and of those that are alike in it the weakest. Fresh seeds then tell what it does, beside the LoRA as it is,
and beside the same LoRA at the lower strength that bleeds as little.
"""

from __future__ import annotations
