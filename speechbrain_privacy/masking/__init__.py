"""Which frames are hidden from a model, and where phones change."""
