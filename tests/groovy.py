"""Running Groovy, where it is installed, with stand-ins for the classes of QuPath."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

STUBS = Path(__file__).parent / "export" / "qupath_stubs"


def run_groovy(script: Path, *arguments: str | Path) -> str:
    """Everything that a script prints; skips the test where there is no Groovy."""
    groovy, java = shutil.which("groovy"), shutil.which("java")
    if groovy is None or java is None:
        pytest.skip("needs Groovy to run scripts (Debian: apt-get install groovy)")
    home = Path(java).resolve().parents[1]
    result = subprocess.run(
        [groovy, "-cp", str(STUBS), str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "JAVA_HOME": str(home), "LC_ALL": "C.UTF-8"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def entries(project: Path) -> list[dict[str, Any]]:
    """The images of a project that the stand-ins wrote."""
    rows: list[dict[str, Any]] = json.loads((project / "project.qpproj").read_text())
    return rows
