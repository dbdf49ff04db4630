"""Sheets of pictures with legends: fonts, geometry as numbers, painting."""
