"""Studies: many pictures that differ in chosen ways, drawn side by side and measured.

A cell is a frozen request; a plan orders the cells; a store keeps every finished one.
"""
