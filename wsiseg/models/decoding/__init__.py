"""From what networks put out to instances: one module a kind of output."""
