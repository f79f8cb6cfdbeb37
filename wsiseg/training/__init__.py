"""Training of the networks: tiles, augmentation, losses, loop, and what is kept of it."""
