"""Everything that needs an optional dependency, imported when used."""
