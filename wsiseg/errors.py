"""One exception tree: every error a user can mend derives from :class:`WsisegError`.

Messages say what was wrong, where (slide, block, file) and what to do about it.
The command line prints them without a traceback.
"""

from __future__ import annotations


class WsisegError(Exception):
    """Base of every error that wsiseg raises on purpose."""


class ConfigurationError(WsisegError):
    """A job, an option or a file of settings cannot be used as it stands."""


class MissingExtraError(ConfigurationError):
    """A feature needs an optional package that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional package: pip install 'wsiseg[{extra}]'")


class PluginError(ConfigurationError):
    """A plug-in that is asked for cannot be used; the message names its package."""


class SlideError(WsisegError):
    """A slide cannot be used; the message names the file."""


class UnreadableSlideError(SlideError):
    """No reader can open the file, or the file is damaged as a whole (truncated, not a slide)."""


class ResolutionError(SlideError):
    """The pixel size is missing, impossible, contradictory or anisotropic."""


class ChannelError(SlideError):
    """The slide's channels do not fit what was asked for."""


class DamagedPixelsError(SlideError):
    """Some pixels of an otherwise readable slide cannot be decoded."""


class ModelError(WsisegError):
    """A model is unknown, does not fit the slide, or breaks the segmenter contract."""


class StoreError(WsisegError):
    """A run directory cannot be read or written; the message names the path."""


class DiskFullError(StoreError):
    """The disk that holds the run directory, named in the message, is full."""


class RunLockedError(StoreError):
    """Another process is working on the same run directory."""


class ResultMismatchError(StoreError):
    """The run directory holds results made with other settings than the ones asked for."""


class MemoryPlanError(WsisegError):
    """The job as planned needs more memory than there is."""


class ClusterError(WsisegError):
    """The processes that are to do the work cannot be reached, cannot be used, or are gone."""
