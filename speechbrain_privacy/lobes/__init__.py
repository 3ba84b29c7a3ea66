"""Model-sized parts: encoders that recipes name in their YAML."""
