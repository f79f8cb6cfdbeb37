"""wsiseg: whole-slide nucleus and tissue segmentation."""

__version__ = "0.1.0"
