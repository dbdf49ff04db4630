"""The library: one function for each thing that loralathe does, with keyword options and typed results.

`import loralathe` offers these names; the command line calls nothing else. Importing them imports no torch.
"""
