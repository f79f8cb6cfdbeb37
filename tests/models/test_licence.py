"""Models that forbid commercial use are refused by the name of the licence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wsiseg.errors import ModelError
from wsiseg.models.licence import require_commercial
from wsiseg.models.zoo import MODELS, load_segmenter
from wsiseg.testing.segmenters import mock_spec


@pytest.mark.parametrize("name", [name for name in MODELS if not name.endswith("-nc")])
def test_bundled_models_are_free(name: str) -> None:
    require_commercial(load_segmenter(name).spec)


@pytest.mark.parametrize(
    "licence",
    [
        "CC-BY-NC-SA-4.0",
        "CC-BY-4.0 AND CC-BY-NC-4.0",
        "(Apache-2.0 OR CC-BY-NC-ND-4.0)",
        "LicenseRef-academic-non-commercial",
    ],
)
def test_non_commercial_licences_are_refused(licence: str) -> None:
    spec = mock_spec("model")
    with pytest.raises(ModelError, match="weights are under"):
        require_commercial(replace(spec, licence=licence))
    with pytest.raises(ModelError, match="training data are under"):
        require_commercial(replace(spec, data_licence=licence))


@pytest.mark.parametrize(
    "licence", ["", "Apache-2.0", "CC0-1.0 AND CC-BY-4.0", "NCSA", "BSD-3-Clause"]
)
def test_others_are_not(licence: str) -> None:
    require_commercial(replace(mock_spec("model"), data_licence=licence))
