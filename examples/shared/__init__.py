"""What the example applications have in common: the tasks, a stylesheet and a script."""
