"""`python -m fastlin`: the same command line as the `fastlin` script."""

from fastlin.commands import main

if __name__ == "__main__":
    main()
