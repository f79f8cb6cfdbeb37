"""What workers need, imported once in the process that they are forked from.

Importing this module is all that is asked of it. It starts no thread and opens no file for good.
"""

import gc
import sys

# What is imported stays: looking it through for garbage again and again takes a fifth of the time.
gc.disable()

from wsiseg.execution.heap import share_heaps  # noqa: E402

share_heaps()

from contextlib import suppress  # noqa: E402

import distributed.nanny  # noqa: E402
import distributed.worker  # noqa: E402, F401

import wsiseg.execution.joining  # noqa: E402
import wsiseg.execution.tasks  # noqa: E402
import wsiseg.models.network.segmenter  # noqa: E402, F401
from wsiseg.errors import ModelError  # noqa: E402
from wsiseg.models.network.runtime import import_openvino  # noqa: E402
from wsiseg.models.zoo import find_model, format_of  # noqa: E402
from wsiseg.plugins import plugins  # noqa: E402
from wsiseg.slides.jpeg import look_at_jpeg  # noqa: E402

# Its converter, which no worker needs, would start a thread.
_CONVERTER = "openvino.tools.ovc"
sys.modules[_CONVERTER] = None  # type: ignore[assignment]
with suppress(ModelError):
    import_openvino()
del sys.modules[_CONVERTER]

# Any compiled function will do: with the first of them numba sets itself up.
look_at_jpeg(b"", (1, 1))

# What is installed is looked through once, and so are the formats of models.
plugins("readers")
with suppress(ModelError):
    format_of(find_model("nuclei-he"))

# Garbage collections of the workers leave alone, and so shared, what they have in common.
gc.freeze()
gc.enable()
