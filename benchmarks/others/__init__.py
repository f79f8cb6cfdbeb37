"""Other tools on the region that wsiseg is measured on; each runs in its own environment."""
