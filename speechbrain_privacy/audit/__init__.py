"""Freeze, tap, attack, score: what a representation gives away."""
