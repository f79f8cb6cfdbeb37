"""What may be done with a model, by the licences of its weights and of its training data."""

from __future__ import annotations

import re
from typing import Protocol

from wsiseg.errors import ModelError

_NON_COMMERCIAL = re.compile(r"(^|-)(NC|non-?commercial)(-|$)", re.IGNORECASE)


class Licensed(Protocol):
    """What a model, of whatever kind, says of its licences."""

    @property
    def name(self) -> str:
        """Of the model."""
        ...

    @property
    def licence(self) -> str:
        """Of the weights."""
        ...

    @property
    def data_licence(self) -> str:
        """Of what it was trained on."""
        ...


def require_commercial(spec: Licensed) -> None:
    """Refuse a model that may not be used commercially.

    Licences are SPDX expressions (https://spdx.org/licenses); those that forbid commercial use
    carry ``NC`` in their names, or say so in a ``LicenseRef``.

    Raises
    ------
    ModelError
        If the weights or the data they were trained on forbid it; the message names the licence.
    """
    for what, expression in (("weights", spec.licence), ("training data", spec.data_licence)):
        for licence in re.findall(r"[A-Za-z0-9.+-]+", expression):
            if _NON_COMMERCIAL.search(licence):
                raise ModelError(
                    f"{spec.name} may not be used commercially: its {what} are under {licence}; "
                    "choose another model, or leave out --commercial"
                )
