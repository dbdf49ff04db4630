"""Formulas and recipes: text → graph → typed expressions. Nothing here opens a model file.

`methods/` holds the functions of the language, a file each. Grammar and meaning: docs/semantics.md §3.
"""

from loralathe.language.added import added_parts
from loralathe.language.checker import TypeChecker
from loralathe.language.expressions import (
    AdapterLeaf,
    CheckpointLeaf,
    ExtractLeaf,
    Leaf,
    LinearExpression,
    MethodLeaf,
    RoundLeaf,
    Term,
    all_terms,
    checkpoint_terms,
    inner_expressions,
    plain_expression,
    require_weights,
    settle,
    single_leaf,
)
from loralathe.language.extract_options import DEFAULT_RANK, RULES, ExtractOptions, Rule
from loralathe.language.input_names import InputNames, identifier, stem
from loralathe.language.method import FactorMethod, MakeRows
from loralathe.language.methods import functions
from loralathe.language.parse import parse_expression
from loralathe.language.recipe import (
    ADAPTER_METADATA,
    DIFFUSERS,
    FIRST,
    LAYOUTS,
    SHARD_SIZE,
    Recipe,
    Save,
    block_texts,
    make_recipe,
    unused_names,
    used_names,
)
from loralathe.language.recipe_file import read_recipe, recipe_text
from loralathe.language.syntax import (
    Add,
    At,
    Call,
    Name,
    Negate,
    Node,
    Number,
    Product,
    Text,
    render,
    value_names,
)
from loralathe.language.toml_file import read_toml, toml_key, toml_text

__all__ = [
    "ADAPTER_METADATA", "DEFAULT_RANK", "DIFFUSERS", "FIRST", "LAYOUTS", "RULES", "SHARD_SIZE",
    "AdapterLeaf", "Add", "At", "Call", "CheckpointLeaf", "ExtractLeaf", "ExtractOptions", "FactorMethod",
    "InputNames",
    "Leaf", "LinearExpression", "MakeRows", "MethodLeaf", "Name", "Negate", "Node", "Number", "Product",
    "Recipe", "RoundLeaf", "Rule", "Save", "Term", "Text", "TypeChecker", "added_parts", "all_terms",
    "block_texts", "checkpoint_terms", "functions", "identifier", "inner_expressions", "make_recipe",
    "parse_expression", "plain_expression", "read_recipe", "read_toml", "recipe_text", "render",
    "require_weights", "settle", "single_leaf", "stem", "toml_key", "toml_text", "unused_names",
    "used_names", "value_names",
]  # fmt: skip
