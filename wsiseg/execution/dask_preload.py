"""What workers need, imported once in the process that they are forked from.

Importing this module is all that is asked of it. It starts no thread and opens no file for good.
"""

import gc

# What is imported stays: looking it through for garbage again and again takes a fifth of the time.
gc.disable()

from wsiseg.execution.heap import share_heaps  # noqa: E402

share_heaps()

import distributed.nanny  # noqa: E402
import distributed.worker  # noqa: E402, F401

import wsiseg.execution.joining  # noqa: E402
import wsiseg.execution.tasks  # noqa: E402, F401
from wsiseg.slides.jpeg import look_at_jpeg  # noqa: E402

# Any compiled function will do: with the first of them numba sets itself up.
look_at_jpeg(b"", (1, 1))

# Garbage collections of the workers leave alone, and so shared, what they have in common.
gc.freeze()
gc.enable()
