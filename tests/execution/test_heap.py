"""Memory that a process keeps for its next use."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from wsiseg.execution.heap import keep_freed_memory, share_heaps
if sys.argv[1] == "kept":
    share_heaps()
    keep_freed_memory()

def use():
    # Larger than what the C library keeps by itself, smaller than what goes back at once.
    for _ in range(200):
        np.ones(4 << 20, np.uint8)

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    # Other settings of the same kind in the environment would count first.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        capture_output=True,
        text=True,
        check=True,
        env={"MALLOC_TRIM_THRESHOLD_": "65536"},
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux is set")
def test_freed_memory_is_used_again_without_new_pages() -> None:
    assert faults("kept") < faults("as it comes") / 10
