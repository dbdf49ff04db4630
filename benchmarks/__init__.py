"""Speed and memory on full-size files, each figure beside a baseline of the same run: see README.md."""
