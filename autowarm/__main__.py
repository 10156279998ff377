"""``python -m autowarm``: the command line."""

from autowarm.cli import main

if __name__ == "__main__":
    main()
