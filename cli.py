"""The fastlin command line, run from a checkout without installing: `python cli.py train`."""

from fastlin.commands import main

if __name__ == "__main__":
    main()
