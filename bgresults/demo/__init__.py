"""The library at work: ``bgresults demo``. Real tasks, a real worker, a server of its own, and nothing left behind."""
