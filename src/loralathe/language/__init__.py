"""Expressions and recipes: text to an untyped graph; nothing here opens a model file.

The engine gives the graph types once headers are known. Grammar and meaning: docs/semantics.md §3.
"""

from loralathe.language.document import (
    Recipe,
    Save,
    make_recipe,
    read_recipe,
)
from loralathe.language.parse import parse_expression
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
)
from loralathe.language.used import unused_names, used_names
from loralathe.language.write import recipe_text

__all__ = [
    "Add",
    "At",
    "Call",
    "Name",
    "Negate",
    "Node",
    "Number",
    "Product",
    "Recipe",
    "Save",
    "Text",
    "make_recipe",
    "parse_expression",
    "read_recipe",
    "recipe_text",
    "render",
    "unused_names",
    "used_names",
]
