"""Pages of studies: HTML files that need nothing else, filled with a study's data."""

from loralathe.studies.page.build import fill_page, grid_page, picture_source

__all__ = ["fill_page", "grid_page", "picture_source"]
