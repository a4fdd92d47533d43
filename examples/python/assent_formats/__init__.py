"""The formats of Assent, from docs/formats.md, with Python's standard library alone."""
