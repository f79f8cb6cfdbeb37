"""Networks that tell classes of tissue apart, pixel by pixel."""
