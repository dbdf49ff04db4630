"""The commands of `lathe`, a file each: `lathe add-difference` is `add_difference_command`."""
