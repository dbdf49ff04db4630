"""Search instead of grids: candidates from the axes of a grid, raced on paired seeds, chosen by several
objectives.
"""
