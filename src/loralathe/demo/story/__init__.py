"""The article, chapter by chapter: each plays its part in the studio and gives its part of the report."""
