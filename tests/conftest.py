"""Fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Compilation and a busy machine make single examples slow; that is no failure.
settings.register_profile("wsiseg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("wsiseg")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real slides and labelled nuclei beside the project."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data" / "slides").is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{folder} is absent: continuous integration must run on the real slides")
        pytest.skip(f"needs the real slides in {folder}, which are not part of the repository")
    return folder


@pytest.fixture(scope="session")
def slides(shared: Path) -> Path:
    """The folder of real slides."""
    return shared / "data" / "slides"
