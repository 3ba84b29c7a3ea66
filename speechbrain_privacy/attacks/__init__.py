"""Attackers, trained from scratch on what the audit gives them."""
