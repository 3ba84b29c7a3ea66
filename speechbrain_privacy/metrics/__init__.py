"""Metrics on plain arrays: numpy in, numbers or dataclasses out, no torch."""
