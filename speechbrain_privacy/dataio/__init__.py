"""Manifests, corpora and datasets."""
