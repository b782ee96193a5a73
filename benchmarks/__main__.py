"""``python -m benchmarks [QUESTION ...] [--quick] [--json FILE] [--against FILE]``."""

import sys

import benchmarks
from bgresults.benchmarking import main

# The publisher's process imports this file too, under another name.
if __name__ == "__main__":
    sys.exit(main(benchmarks))
