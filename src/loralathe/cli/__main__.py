"""`python -m loralathe.cli`: the same as `lathe`."""

from loralathe.cli.app import main

if __name__ == "__main__":
    main()
