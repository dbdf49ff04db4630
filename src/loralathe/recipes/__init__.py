"""Expressions and recipes: text to an untyped graph; nothing here opens a model file.

The engine gives the graph types once headers are known. Grammar and meaning: docs/semantics.md §3.
"""

from loralathe.recipes.document import Recipe, Save, make_recipe, read_recipe
from loralathe.recipes.parse import parse_expression
from loralathe.recipes.syntax import Add, At, Call, Name, Negate, Node, Number, Product, Text, render
from loralathe.recipes.used import unused_names, used_names
from loralathe.recipes.write import recipe_text

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
