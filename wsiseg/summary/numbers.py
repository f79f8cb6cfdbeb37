"""Numbers as they are shown to people."""

from __future__ import annotations


def short(value: float | None) -> str:
    """About three digits that count, thousands parted, nothing for what is not known."""
    if value is None:
        return ""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 1 or size == 0 else f"{value:.3g}"


def whole(value: int | None) -> str:
    """A count."""
    return "" if value is None else f"{value:,}"
