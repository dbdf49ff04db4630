"""Tensors that are not weights of the model, or that nothing ever reads: the named rules for them.

A key under a rule always comes from the first checkpoint of a formula and is never averaged; a
`frozen` one is not even cast, because loaders read its exact values (or its mere presence).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class KeyRule:
    """name: for reports; pattern: regular expression over the whole key; frozen: kept byte for byte."""

    name: str
    pattern: str
    frozen: bool


_SCHEDULE = (
    r"betas|alphas_cumprod(_prev)?|posterior_(variance|log_variance_clipped|mean_coef[12])"
    r"|sqrt_(alphas|one_minus_alphas|recip_alphas|recipm1_alphas)_cumprod|log_one_minus_alphas_cumprod"
    r"|l?vlb_weights|logvar|scale_factor|denoiser\.(log_)?sigmas"
)
RULES = (
    KeyRule("prediction marks", r"v_pred|ztsnr|edm_vpred\.sigma_(max|min)|edm_mean|edm_std", True),
    KeyRule("position ids", r".*\bposition_ids", True),
    KeyRule("schedule buffers", _SCHEDULE, True),
    KeyRule("attention mask buffers", r".*\.attn_mask", True),
    KeyRule("EMA copies", r"model_ema\.(decay|num_updates)", True),
    KeyRule("EMA copies", r"model_ema\..*", False),
    KeyRule("training leftovers", r"first_stage_model\.loss\..*|embedding_manager\..*|global_step", False),
    KeyRule("logit scale, unused in pictures", r"(.*\.)?logit_scale", False),
    KeyRule(
        "CLIP-L projection, unused in pictures",
        r"cond_stage_model\.transformer\.text_projection\.weight",
        False,
    ),
)


@lru_cache(maxsize=1)
def _compiled() -> tuple[re.Pattern[str], tuple[tuple[KeyRule, re.Pattern[str]], ...]]:
    """One pattern that most keys fail at once, and each rule's own."""
    any_rule = re.compile("|".join(f"(?:{rule.pattern})" for rule in RULES))
    return any_rule, tuple((rule, re.compile(rule.pattern)) for rule in RULES)


def find_rule(key: str, more: tuple[KeyRule, ...] = ()) -> KeyRule | None:
    """The first rule whose pattern is the whole key; `more` are the family's own."""
    any_rule, rules = _compiled()
    if any_rule.fullmatch(key):
        return next(rule for rule, pattern in rules if pattern.fullmatch(key))
    return next((rule for rule in more if re.fullmatch(rule.pattern, key)), None)
