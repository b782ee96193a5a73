"""``python -m tests.distribution``: builds what is released, and looks at it as a stranger gets it."""
