"""Ways to get from a network's output to nuclei, compared on one short budget."""
