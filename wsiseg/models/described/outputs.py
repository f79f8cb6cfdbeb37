"""What a network's outputs are (``[outputs]`` of a description), and how they are decoded.

``kind`` is one of

``labels``
    The network numbers the instances itself (InstanSeg): ``labels``, one channel.
``hover``
    ``nucleus`` (one channel, or background and nucleus under a softmax) and ``directions``
    (horizontal, vertical): HoVer-Net, CellViT.
``boundary``
    ``parts``: background, inside and border under a softmax (HoVer-NeXt), or inside and border
    each by itself.
``distances``
    ``distance`` to the border, and ``nucleus`` if there is one.
``stars``
    ``probability``, and ``rays`` in pixels, from the axis of x towards y: StarDist.
``flows``
    ``flows`` (along y, along x) and ``score``, a logit: cellpose.
``semantic``
    Classes of pixels, which is no answer on nuclei: refused with what to do instead.

All but the last may have ``types``: one channel a class, background perhaps among them. Each of
these names what it is read from (:class:`~wsiseg.models.described.sources.Source`), and how many
channels that has is checked; the other keys are thresholds, with the defaults of the published
code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from wsiseg.models.decoding.boundary import BoundaryRule, decode_boundary
from wsiseg.models.decoding.classing import vote_classes, without_background
from wsiseg.models.decoding.distances import DistanceRule, decode_distances
from wsiseg.models.decoding.flows import FlowRule, find_flow_instances
from wsiseg.models.decoding.hover import HoverRule, decode_hover
from wsiseg.models.decoding.instances import decode_labels
from wsiseg.models.described.sources import Maps, Source, TypeSource
from wsiseg.models.segmenter import Instances
from wsiseg.models.stardist.instances import Rule, find_instances

_Share = Annotated[float, Field(ge=0, lt=1)]
_Px = Annotated[int, Field(ge=1, le=100_000)]

_HOVER, _BOUNDARY, _DISTANCE, _FLOW = HoverRule(), BoundaryRule(), DistanceRule(), FlowRule()


class _Kind(BaseModel):
    """What all kinds have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    CHANNELS: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    """How many channels each source may have."""
    EXACT: ClassVar[bool] = True
    """Whether the decoding has a bounded reach."""

    types: TypeSource | None = None

    @property
    def sources(self) -> dict[str, Source]:
        """What is read, by name."""
        fields = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in fields if isinstance(value, Source)}

    @property
    def background(self) -> int | None:
        """Which of the channels of ``types`` is background."""
        return self.types.background if self.types is not None else None

    @property
    def reach_px(self) -> int:
        """How far around an instance's support the decoding looks."""
        return 0

    @property
    def room_px(self) -> int:
        """What a halo should hold besides the reach and a nucleus."""
        return 0

    def check_classes(self, count: int) -> None:
        """Refuse numbers of channels or classes that do not fit one another.

        Raises
        ------
        ValueError
            With what does not fit.
        """
        for name, source in self.sources.items():
            allowed = self.CHANNELS.get(name)
            if allowed is not None and len(source.channels) not in allowed:
                wanted = " or ".join(str(n) for n in allowed)
                raise ValueError(f"outputs.{name} needs {wanted} channels, not those of {source}")
        if self.types is None:
            if count > 1:
                raise ValueError(
                    f"{count} classes are named, but outputs.types does not say where they are read"
                )
            return
        channels, background = len(self.types.channels), self.types.background
        if background is not None and not 0 <= background < channels:
            raise ValueError(f"outputs.types.background must be in 0 to {channels - 1}")
        given = channels - (background is not None)
        if given != max(count, 1):
            raise ValueError(
                f"outputs.types has {given} classes besides background, but {count} are named "
                "under [[classes]]: name each, in the order of the channels"
            )

    def decode(self, maps: Maps, step: int) -> Instances:
        """The instances of one window, from maps of ``step`` pixels an output."""
        raise NotImplementedError


class LabelOutputs(_Kind):
    """``labels``: instances numbered by the network itself."""

    CHANNELS: ClassVar[Mapping[str, tuple[int, ...]]] = {"labels": (1,)}
    EXACT: ClassVar[bool] = False

    kind: Literal["labels"]
    labels: Source = Source()
    least_area_px: _Px = 1

    def decode(self, maps: Maps, step: int) -> Instances:
        """See :func:`wsiseg.models.decoding.instances.decode_labels`."""
        return decode_labels(
            maps["labels"][0], maps.get("types"), self.least_area_px, self.background
        )


class HoverOutputs(_Kind):
    """``hover``: thresholds as in :class:`wsiseg.models.decoding.hover.HoverRule`."""

    CHANNELS: ClassVar[Mapping[str, tuple[int, ...]]] = {"nucleus": (1, 2), "directions": (2,)}

    kind: Literal["hover"]
    nucleus: Source
    directions: Source
    foreground: _Share = _HOVER.foreground
    kernel: Literal[5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31] = 21
    slope: float = _HOVER.slope
    least_marker_px: _Px = _HOVER.least_marker_px
    least_area_px: _Px = _HOVER.least_area_px

    @property
    def rule(self) -> HoverRule:
        """The thresholds."""
        return HoverRule(
            self.foreground, self.kernel, self.slope, self.least_marker_px, self.least_area_px
        )

    @property
    def reach_px(self) -> int:
        """See :attr:`wsiseg.models.decoding.hover.HoverRule.reach_px`."""
        return self.rule.reach_px

    def decode(self, maps: Maps, step: int) -> Instances:
        """See :func:`wsiseg.models.decoding.hover.decode_hover`."""
        horizontal, vertical = maps["directions"]
        return decode_hover(
            maps["nucleus"][-1],
            horizontal,
            vertical,
            maps.get("types"),
            self.rule,
            self.background,
        )


class BoundaryOutputs(_Kind):
    """``boundary``: thresholds as in :class:`wsiseg.models.decoding.boundary.BoundaryRule`."""

    CHANNELS: ClassVar[Mapping[str, tuple[int, ...]]] = {"parts": (2, 3)}

    kind: Literal["boundary"]
    parts: Source
    foreground: tuple[_Share, ...] | _Share = 0.5
    marker: tuple[_Share, ...] | _Share = 0.5
    least_marker_px: _Px = _BOUNDARY.least_marker_px
    least_area_px: _Px = _BOUNDARY.least_area_px

    @property
    def rule(self) -> BoundaryRule:
        """The thresholds."""
        limits = [v if isinstance(v, tuple) else (v,) for v in (self.foreground, self.marker)]
        return BoundaryRule(limits[0], limits[1], self.least_marker_px, self.least_area_px)

    @property
    def reach_px(self) -> int:
        """See :attr:`wsiseg.models.decoding.boundary.BoundaryRule.reach_px`."""
        return self.rule.reach_px

    def check_classes(self, count: int) -> None:
        """As :meth:`_Kind.check_classes`; thresholds must be one, or one a class."""
        super().check_classes(count)
        for name in ("foreground", "marker"):
            limits = getattr(self, name)
            if isinstance(limits, tuple) and (len(limits) != max(count, 1) or self.types is None):
                raise ValueError(f"outputs.{name} needs one number, or one for each class")

    def decode(self, maps: Maps, step: int) -> Instances:
        """See :func:`wsiseg.models.decoding.boundary.decode_boundary`."""
        parts = maps["parts"]
        whole = np.maximum(parts[0], parts[1]) if len(parts) == 2 else parts[1] + parts[2]
        return decode_boundary(whole, parts[-2], maps.get("types"), self.rule, self.background)


class DistanceOutputs(_Kind):
    """``distances``: thresholds as in :class:`wsiseg.models.decoding.distances.DistanceRule`."""

    CHANNELS: ClassVar[Mapping[str, tuple[int, ...]]] = {"distance": (1,), "nucleus": (1, 2)}

    kind: Literal["distances"]
    distance: Source
    nucleus: Source | None = None
    foreground: float = _DISTANCE.foreground
    marker: float = _DISTANCE.marker
    joined: _Share = _DISTANCE.joined
    least_area_px: _Px = _DISTANCE.least_area_px

    @property
    def reach_px(self) -> int:
        """See :attr:`wsiseg.models.decoding.distances.DistanceRule.reach_px`."""
        return DistanceRule().reach_px

    def decode(self, maps: Maps, step: int) -> Instances:
        """See :func:`wsiseg.models.decoding.distances.decode_distances`."""
        rule = DistanceRule(self.foreground, self.marker, self.joined, self.least_area_px)
        nucleus = maps.get("nucleus")
        return decode_distances(
            maps["distance"][0],
            None if nucleus is None else nucleus[-1],
            maps.get("types"),
            rule,
            self.background,
        )


class StarOutputs(_Kind):
    """``stars``: thresholds as in :class:`wsiseg.models.stardist.instances.Rule`."""

    CHANNELS: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "probability": (1,),
        "rays": tuple(range(8, 129)),
    }

    kind: Literal["stars"]
    probability: Source
    rays: Source
    least_probability: Annotated[float, Field(gt=0, lt=1)] = 0.5
    overlap: Annotated[float, Field(gt=0, le=1)] = 0.4
    longest: Annotated[int, Field(ge=4, le=254)] = 40

    @property
    def room_px(self) -> int:
        """The longest ray, in pixels: supports are grown by it."""
        return self.longest

    def decode(self, maps: Maps, step: int) -> Instances:
        """See :func:`wsiseg.models.stardist.instances.find_instances`."""
        rule = Rule(
            len(self.rays.channels), step, self.least_probability, self.overlap, self.longest
        )
        shares = np.clip(maps["probability"].astype(np.float64), 1e-7, 1 - 1e-7)
        parts = [np.log(shares / (1 - shares)).astype(np.float32), maps["rays"]]
        if "types" in maps:
            parts.append(without_background(maps["types"], self.background))
        return find_instances(np.concatenate(parts), rule)


class FlowOutputs(_Kind):
    """``flows``: thresholds as in :class:`wsiseg.models.decoding.flows.FlowRule`.

    ``times`` is what the network's flows are times a step of one pixel: 5 in cellpose.
    """

    CHANNELS: ClassVar[Mapping[str, tuple[int, ...]]] = {"flows": (2,), "score": (1,)}
    EXACT: ClassVar[bool] = False

    kind: Literal["flows"]
    flows: Source
    score: Source
    times: float = Field(default=5.0, gt=0)
    least_score: float = _FLOW.score
    steps: Annotated[int, Field(ge=1, le=5000)] = _FLOW.steps
    flow_error: Annotated[float, Field(ge=0)] = _FLOW.flow_error
    least_area_px: _Px = _FLOW.least_area_px

    def decode(self, maps: Maps, step: int) -> Instances:
        """See :func:`wsiseg.models.decoding.flows.find_flow_instances`."""
        rule = FlowRule(self.least_score, self.steps, self.flow_error, self.least_area_px)
        flows = np.ascontiguousarray(maps["flows"] / np.float32(self.times))
        found = find_flow_instances(flows, np.ascontiguousarray(maps["score"][0]), rule)
        if "types" not in maps:
            return found
        types = vote_classes(found.labels, len(found), maps["types"], self.background)
        return Instances(found.labels, types, found.probabilities, found.supports)


class SemanticOutputs(_Kind):
    """``semantic``: classes of pixels; read so that the refusal can say what to do."""

    kind: Literal["semantic"]
    classes: Source | None = None


Outputs = Annotated[
    LabelOutputs
    | HoverOutputs
    | BoundaryOutputs
    | DistanceOutputs
    | StarOutputs
    | FlowOutputs
    | SemanticOutputs,
    Field(discriminator="kind"),
]
