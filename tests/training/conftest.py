"""`training/` lies beside `src/`, outside the wheel."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("PIL")
pytest.importorskip("instant_clip_tokenizer")
sys.path.append(str(Path(__file__).parents[2]))
