"""Features: measurements of cells."""
