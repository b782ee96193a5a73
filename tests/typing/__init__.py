"""What users write, as type checkers see it. Nothing here runs: ``make lint`` and ``make dist-test`` check it.

``assert_type()`` says what a right use is taken for. A line with an ``ignore`` is a wrong use, and one that passes is
an error: mypy and pyright are told to report those that are not needed.
"""
