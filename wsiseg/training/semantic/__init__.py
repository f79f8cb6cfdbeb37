"""Training of networks that tell classes of tissue apart."""
