"""``python -m bgresults``."""

from bgresults.cli import main

if __name__ == "__main__":
    main()
