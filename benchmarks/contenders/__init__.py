"""Programs that a benchmark starts, one process each."""
