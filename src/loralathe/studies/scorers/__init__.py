"""Scorers: pictures in, numbers out. Three need nothing; two use a model file that the person gives."""

from loralathe.studies.scorers.builtin import HashDistance, PixelDifference, Similarity
from loralathe.studies.scorers.identity import IdentityScorer
from loralathe.studies.scorers.prompt import PromptScorer
from loralathe.studies.scorers.protocol import Scored, Scorer, score_all

__all__ = [
    "HashDistance",
    "IdentityScorer",
    "PixelDifference",
    "PromptScorer",
    "Scored",
    "Scorer",
    "Similarity",
    "score_all",
]
