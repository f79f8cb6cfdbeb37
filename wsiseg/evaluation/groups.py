"""What is known of images beside their pixels: patient, organ, site, scanner, pixel size."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from wsiseg.errors import ConfigurationError
from wsiseg.files import read_json

_TCGA = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?=-|$)")
"""The part of a TCGA barcode that names the patient: project, site, participant (NCI Genomic
Data Commons, "TCGA barcode")."""

_RESERVED = {"dataset", "truth", "predicted"}

_STRATA_IN_META = ("organ", "site", "scanner", "stain", "group")


@dataclass(frozen=True, slots=True)
class Described:
    """One image.

    Attributes
    ----------
    group
        What is resampled as a whole, e.g. the patient; ``None`` where nobody says.
    strata
        Level by column.
    mpp
        Pixel size in µm/px where stated.
    """

    group: str | None = None
    strata: Mapping[str, str] = field(default_factory=dict)
    mpp: float | None = None


@dataclass(frozen=True)
class GroupTable:
    """A user's CSV: ``name,group,...``.

    ``name`` is an image's name without ending, or ``DATASET/name``, or a slide's file name.
    ``group`` and ``mpp`` have their own meaning, every other column is a stratum.
    """

    path: Path
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]

    @classmethod
    def read(cls, path: Path) -> GroupTable:
        """Read the file.

        Raises
        ------
        ConfigurationError
            If it cannot be read, has no column ``name``, or one name twice.
        """
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                columns = tuple(reader.fieldnames or ())
                lines = list(reader)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ConfigurationError(f"cannot read {path}: {error}") from error
        if "name" not in columns:
            raise ConfigurationError(
                f"{path} has no column 'name'; its first line must be like name,group,organ"
            )
        reserved = _RESERVED & set(columns)
        if reserved:
            raise ConfigurationError(
                f"{path}: the column name {', '.join(sorted(reserved))} is taken; rename it"
            )
        rows: dict[str, Mapping[str, str]] = {}
        for number, line in enumerate(lines, start=2):
            if None in line or None in line.values():
                raise ConfigurationError(f"{path}, line {number}: not {len(columns)} fields")
            if line["name"] in rows:
                raise ConfigurationError(
                    f"{path}, line {number}: {line['name']} stands there twice"
                )
            rows[line["name"]] = line
        return cls(path, columns, rows)

    def find(self, dataset: str, name: str) -> Described:
        """What the file says of an image.

        Raises
        ------
        ConfigurationError
            If it says nothing, or its pixel size is no number.
        """
        row = self.rows.get(f"{dataset}/{name}", self.rows.get(name))
        if row is None:
            raise ConfigurationError(f"{self.path} has no line for {name} (of {dataset})")
        strata = {c: row[c] for c in self.columns if c not in ("name", "group", "mpp")}
        return Described(row.get("group") or None, strata, self._mpp(row))

    def _mpp(self, row: Mapping[str, str]) -> float | None:
        stated = row.get("mpp")
        if not stated:
            return None
        try:
            value = float(stated)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise ConfigurationError(
                f"{self.path}: the mpp of {row['name']} is {stated!r}, not a size in µm/px"
            )
        return value


@dataclass(frozen=True)
class DataSet:
    """What a folder says of its images in ``meta.json`` and ``organ.json``; both may be absent.

    ``meta.json`` may give ``mpp`` in µm/px, ``categories`` (classes by ``id`` and ``name``) and
    ``per_image`` with ``patient``, ``organ``, ``site``, ``scanner``, ``stain`` or ``group`` (a
    kind of image, a stratum). ``organ.json`` gives the organ by image.
    """

    folder: Path
    meta: Mapping[str, Any]
    organs: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> DataSet:
        """Read the two files."""
        return cls(folder, _object(folder / "meta.json"), _object(folder / "organ.json"))

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    @property
    def mpp(self) -> float | None:
        """The pixel size stated for all images."""
        value = self.meta.get("mpp")
        return float(value) if isinstance(value, int | float) else None

    @property
    def classes(self) -> dict[int, str]:
        """Class names by their value in ``classes/``."""
        listed = self.meta.get("categories")
        if not isinstance(listed, list):
            return {}
        return {
            int(entry["id"]): str(entry["name"])
            for entry in listed
            if isinstance(entry, dict) and "id" in entry and "name" in entry
        }

    def find(self, name: str) -> Described:
        """What is known of an image."""
        images = self.meta.get("per_image")
        facts = images.get(name, {}) if isinstance(images, dict) else {}
        strata = {
            "kind" if key == "group" else key: str(facts[key])
            for key in _STRATA_IN_META
            if isinstance(facts.get(key), str)
        }
        if isinstance(self.organs.get(name), str):
            strata["organ"] = self.organs[name]
        patient = facts.get("patient")
        return Described(str(patient) if patient is not None else tcga_patient(name), strata)


def tcga_patient(name: str) -> str | None:
    """The patient that a name with a TCGA barcode tells."""
    found = _TCGA.match(name)
    return found.group() if found else None


def read_split(text: str) -> frozenset[str]:
    """The names ``DATASET/name`` of ``FILE.json:key/key``.

    Raises
    ------
    ConfigurationError
        If the file has no list there.
    """
    file, _, place = text.rpartition(":")
    if not file:
        raise ConfigurationError(
            f"--split takes FILE.json:key/key, as splits.json:free/val: {text}"
        )
    value: Any = _object(Path(file), required=True)
    for key in place.split("/"):
        if not isinstance(value, dict) or key not in value:
            there = ", ".join(value) if isinstance(value, dict) else "a list"
            raise ConfigurationError(f"{file} has no {place!r}: at {key!r} it has {there}")
        value = value[key]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigurationError(f"{file}: {place!r} is no list of names")
    return frozenset(value)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images to take: those of a split, if any, that match a pattern, if any.

    Patterns are as in a shell (``TNBC/07_*``), for the name or ``DATASET/name``.
    """

    split: frozenset[str] | None = None
    patterns: Sequence[str] = ()

    def takes(self, dataset: str, name: str) -> bool:
        """Whether the image is wanted."""
        full = f"{dataset}/{name}"
        if self.split is not None and full not in self.split:
            return False
        return not self.patterns or any(
            fnmatchcase(full, p) or fnmatchcase(name, p) for p in self.patterns
        )

    def require(self, dataset: str, there: Collection[str], folder: Path) -> None:
        """See that the split's images of a data set are there.

        Raises
        ------
        ConfigurationError
            If one is not.
        """
        named = sorted(n for n in self.split or () if n.startswith(f"{dataset}/"))
        missing = [n for n in named if n.removeprefix(f"{dataset}/") not in there]
        if missing:
            raise ConfigurationError(
                f"{folder} lacks {len(missing)} of the {len(named)} images that the split names: "
                f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}"
            )

    def elsewhere(self, datasets: Collection[str]) -> list[str]:
        """The data sets that the split names beside these."""
        return sorted({n.split("/")[0] for n in self.split or ()} - set(datasets))


def _object(path: Path, *, required: bool = False) -> dict[str, Any]:
    if not required and not path.exists():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path} must hold a JSON object")
    return value
