"""What every column of features means: the one place for names, units, definitions, sources.

Names end in their unit where they have one in µm. ``{stain}`` stands for ``haematoxylin`` and
``eosin`` or ``dab``; ``{channel}`` for the plain name of a fluorescence channel
(:func:`wsiseg.features.registry.plain_names`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

FeatureSet = Literal["shape", "stain", "neighbours", "position", "texture", "graph", "contour"]
ALL_SETS: tuple[FeatureSet, ...] = get_args(FeatureSet)
DEFAULT_SETS: tuple[FeatureSet, ...] = ("shape", "stain", "neighbours", "position")

PIXEL_SETS: frozenset[FeatureSet] = frozenset({"stain", "texture"})
"""Sets that read the slide's pixels; the others need the outlines alone."""

VERSIONS: Mapping[FeatureSet, int] = dict.fromkeys(ALL_SETS, 1)
"""Raised for a set whenever a change of wsiseg changes what its columns hold."""

RING_UM = 2.0
"""The ring of a nucleus: pixels whose centre is at most this far from the centre of one of the
nucleus's pixels, in no nucleus and on the slide."""

COUNT_RADII_UM = (25, 50, 100)
"""Neighbours are counted within these distances of a nucleus."""

ALPHA_UM = 50.0
"""Greatest radius of the empty circles that join nuclei in the graph."""

HARMONICS = 6
"""Elliptic Fourier harmonics that a contour is described by."""

_SKIMAGE = "scikit-image, regionprops"
_RUIFROK = (
    "Ruifrok, Johnston: Quantification of histochemical staining by color deconvolution, 2001"
)
_HARALICK = "Haralick, Shanmugam, Dinstein: Textural features for image classification, 1973"
_ALPHA = "Edelsbrunner, Kirkpatrick, Seidel: On the shape of a set of points in the plane, 1983"
_FOURIER = "Kuhl, Giardina: Elliptic Fourier features of a closed contour, 1982"
_BENDING = "Young, Walker, Bowie: An analysis technique for biological shape I, 1974"

STAINS = ("haematoxylin", "eosin", "dab")
_OD = "OD"


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of features.

    Attributes
    ----------
    name
        Of the column, or the pattern of several.
    set
        The set it belongs to: a :data:`FeatureSet`, or one of a plug-in.
    unit
        ``""`` for a bare number.
    definition
        What the number is, and where it is undefined (NaN).
    source
        Whose definition that is; empty where the definition says it all.
    """

    name: str
    set: str
    unit: str
    definition: str
    source: str = ""


def _shape() -> list[Feature]:
    rows = [
        ("area_um2", "µm^2", "Pixels whose centre lies inside, times the area of a pixel."),
        (
            "perimeter_um",
            "µm",
            "Benkrid and Crookes's estimate from the border pixels; 0 for a single pixel.",
        ),
        ("major_axis_um", "µm", "Full major axis of the ellipse with the same second moments."),
        ("minor_axis_um", "µm", "Full minor axis of that ellipse."),
        ("eccentricity", "", "Of that ellipse: 0 for a circle, towards 1 for a line."),
        (
            "orientation_rad",
            "rad",
            "Angle from the image's downward axis to the major axis, towards the right, in "
            "-pi/2..pi/2.",
        ),
        (
            "circularity",
            "",
            "4 pi area / perimeter^2; above 1 for specks; NaN where the perimeter is 0.",
        ),
        ("solidity", "", "Area over the area of the convex hull; NaN without a pixel."),
        ("elongation", "", "1 - minor axis / major axis; NaN where the major axis is 0."),
        (
            "convexity",
            "",
            "Perimeter of the hull of the pixels' centres over the perimeter; above 1 for specks; "
            "NaN where the perimeter is 0.",
        ),
        ("equivalent_diameter_um", "µm", "Diameter of the circle of the same area."),
        ("feret_max_um", "µm", "Greatest distance of two points of the convex hull."),
        ("feret_min_um", "µm", "Least distance of two parallel lines with the hull between them."),
    ]
    own = {"elongation", "convexity", "feret_min_um", "circularity"}
    return [Feature(n, "shape", u, d, "" if n in own else _SKIMAGE) for n, u, d in rows]


_SPREADS = {
    "mean": "mean",
    "std": "standard deviation (of all pixels, not of a sample)",
    "p10": "10th percentile, interpolated between pixels",
    "p50": "median",
    "p90": "90th percentile, interpolated between pixels",
}
_NUCLEUS = "over the nucleus's pixels of the label mask; NaN where it has none"
_RING = (
    f"over the ring: pixels within {RING_UM:g} µm outside the nucleus, in no nucleus and on the "
    "slide; NaN where there is none"
)

NUCLEUS_STATISTICS = ("mean", "std", "p10", "p50", "p90")
RING_STATISTICS = ("mean", "std", "p90")


def _stain() -> list[Feature]:
    amount = "Optical density of {stain} by the slide's own stain vectors: "
    rows = [
        (f"nucleus_{{stain}}_od_{k}", _OD, f"{amount}{_SPREADS[k]}, {_NUCLEUS}.", _RUIFROK)
        for k in NUCLEUS_STATISTICS
    ]
    rows += [
        (f"ring_{{stain}}_od_{k}", _OD, f"{amount}{_SPREADS[k]}, {_RING}.", _RUIFROK)
        for k in RING_STATISTICS
    ]
    rows.append(
        (
            "nucleus_od_sum_mean",
            _OD,
            f"Optical densities of red, green and blue added: mean, {_NUCLEUS}.",
            "QuPath, OD Sum",
        )
    )
    rows += [
        (
            f"nucleus_{{channel}}_{k}",
            "intensity",
            f"Channel {{channel}}: {_SPREADS[k]}, {_NUCLEUS}.",
            "",
        )
        for k in NUCLEUS_STATISTICS
    ]
    rows += [
        (f"ring_{{channel}}_{k}", "intensity", f"Channel {{channel}}: {_SPREADS[k]}, {_RING}.", "")
        for k in RING_STATISTICS
    ]
    return [Feature(n, "stain", u, d, s) for n, u, d, s in rows]


def _neighbours() -> list[Feature]:
    rows = [
        (
            "nearest_1_um",
            "µm",
            "Distance from centroid to centroid of the nearest other nucleus of the slide; NaN if "
            "there is none.",
        ),
        (
            "nearest_3_um",
            "µm",
            "Mean distance of the three nearest other nuclei; NaN if there are fewer.",
        ),
        *(
            (f"neighbours_{r}_um", "", f"Other nuclei whose centroid is at most {r} µm away.")
            for r in COUNT_RADII_UM
        ),
        (
            "density_100_per_mm2",
            "per mm^2",
            "neighbours_100_um over the area of that circle, tissue or not.",
        ),
        (
            "other_class_share_50_um",
            "",
            "Share of another class among the neighbours within 50 µm; NaN without neighbours; "
            "only where there are several classes.",
        ),
    ]
    return [Feature(n, "neighbours", u, d) for n, u, d in rows]


def _position() -> list[Feature]:
    text = (
        "Distance of the centroid to the outline of the tissue mask, the slide's border included; "
        "negative outside the tissue; NaN where there is no tissue."
    )
    return [Feature("distance_to_tissue_edge_um", "position", "µm", text)]


def _texture() -> list[Feature]:
    matrix = (
        "of the symmetrical grey-level co-occurrence matrix of the nucleus's haematoxylin OD "
        "(fluorescence: of the segmented channel), 16 levels, pairs 1 µm apart with both pixels "
        "in the nucleus, mean of the directions 0, 45, 90 and 135 degrees; NaN without a pair"
    )
    rows = [
        ("texture_contrast", "", f"Contrast {matrix}."),
        ("texture_correlation", "", f"Correlation {matrix}; 1 where all levels are equal."),
        ("texture_energy", "", f"Energy (root of the sum of squares) {matrix}."),
        ("texture_homogeneity", "", f"Homogeneity (inverse difference moment) {matrix}."),
        ("texture_entropy", "", f"Entropy (natural logarithm) {matrix}."),
    ]
    gradient = "of the gradient's length by central differences, over the nucleus's pixels"
    return [
        *(Feature(n, "texture", u, d, f"{_HARALICK}; scikit-image") for n, u, d in rows),
        Feature("gradient_mean_per_um", "texture", "per µm", f"Mean {gradient}; NaN without."),
        Feature(
            "gradient_std_per_um",
            "texture",
            "per µm",
            f"Standard deviation {gradient}; NaN without.",
        ),
    ]


def _graph() -> list[Feature]:
    alpha = f"in the alpha complex (empty circles of at most {ALPHA_UM:g} µm radius)"
    rows = [
        ("graph_degree", "", f"Number of nuclei joined to this one {alpha}."),
        ("graph_edge_mean_um", "µm", f"Mean length of its edges {alpha}; NaN without."),
        (
            "graph_edge_std_um",
            "µm",
            f"Standard deviation of its edges' lengths {alpha}; NaN without.",
        ),
        (
            "graph_triangle_area_mean_um2",
            "µm^2",
            f"Mean area of its triangles {alpha}; NaN without.",
        ),
        (
            "graph_clustering",
            "",
            f"Share of the pairs of its neighbours that are joined too {alpha}; 0 where there are "
            "fewer than two.",
        ),
    ]
    return [Feature(n, "graph", u, d, _ALPHA) for n, u, d in rows]


def _contour() -> list[Feature]:
    smooth = f"of the outline smoothed to {HARMONICS} harmonics, convex parts positive"
    even = "at points of even arc length"
    rows = [
        ("curvature_mean_per_um", "per µm", f"Mean curvature {smooth}, {even}.", _FOURIER),
        (
            "curvature_std_per_um",
            "per µm",
            f"Standard deviation of the curvature {smooth}.",
            _FOURIER,
        ),
        ("curvature_min_per_um", "per µm", f"Least curvature {smooth}.", _FOURIER),
        ("curvature_max_per_um", "per µm", f"Greatest curvature {smooth}.", _FOURIER),
        (
            "bending_energy",
            "",
            f"Mean squared curvature {smooth}, times (perimeter / 2 pi)^2: 1 for a circle.",
            _BENDING,
        ),
        ("concave_share", "", f"Share of the length {smooth} with negative curvature.", _FOURIER),
        *(
            (
                f"fourier_{n}",
                "",
                f"Energy of elliptic Fourier harmonic {n} over that of the first.",
                _FOURIER,
            )
            for n in range(2, HARMONICS + 1)
        ),
    ]
    undefined = " NaN for an outline without area."
    return [Feature(n, "contour", u, d + undefined, s) for n, u, d, s in rows]


FEATURES: tuple[Feature, ...] = (
    *_shape(),
    *_stain(),
    *_neighbours(),
    *_position(),
    *_texture(),
    *_graph(),
    *_contour(),
)
"""Every feature; some names are patterns."""
