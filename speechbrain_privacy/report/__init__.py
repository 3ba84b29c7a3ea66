"""Results of runs as tables and pictures."""
