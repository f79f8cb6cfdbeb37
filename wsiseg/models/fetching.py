"""Models from an address: the one thing in wsiseg that uses the network.

What is fetched is known by its sha256 before it is: the digest is given, or stands in
``catalogue.toml`` in the user's folder of models, which whoever looks after a site can hand out::

    [our-model]
    url = "https://models.example.org/our-model.zip"
    sha256 = "..."

Proxies are those of the environment (``https_proxy``, ``no_proxy``), as urllib knows them.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from wsiseg.errors import ConfigurationError, ModelError
from wsiseg.files import named_disk
from wsiseg.models.added import models_folder, record_of, working_folder
from wsiseg.models.adding import Added, place_model, require_free
from wsiseg.models.archives import is_archive, unpack_archive
from wsiseg.models.contents import content_of, pieces, require_size
from wsiseg.models.packing import is_packed, unpack_model

TIMEOUT_SECONDS = 60.0
"""A server that is silent for so long is given up."""

TRIES = 4
"""A transfer that breaks off is taken up again so often, as long as each brings something."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_MAX_CATALOGUE = 1 << 20

Progress = Callable[[int, int | None], object]
"""Told how many bytes are there, and how many there will be where that is known."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is fetched: where from, its digest, the file's name, and what to call the model where
    that is known."""

    url: str
    sha256: str
    file: str
    name: str = ""


def find_source(wanted: str, sha256: str | None) -> Source:
    """What a name in the catalogue or an address with a digest stands for.

    Raises
    ------
    ConfigurationError
        If there is no such name, or no digest, or the address cannot be used.
    """
    if "://" in wanted:
        if sha256 is None:
            raise ConfigurationError(
                "--sha256 is needed with an address: the digest that the model's makers state, so "
                "that nothing else can take its place"
            )
        url = wanted
    else:
        url, known = _catalogued(wanted)
        if sha256 is not None and sha256.lower() != known:
            raise ConfigurationError(f"the catalogue states another sha256 for {wanted}: {known}")
        sha256 = known
    if _DIGEST.fullmatch(sha256.lower()) is None:
        raise ConfigurationError(f"{sha256!r} is no sha256: it has 64 digits, 0-9 and a-f")
    _require_safe(url)
    file = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rsplit("/", 1)[-1]
    return Source(url, sha256.lower(), file or "model", "" if url == wanted else wanted)


def fetch_model(
    source: Source,
    *,
    name: str | None = None,
    trust: bool = False,
    progress: Progress | None = None,
) -> Added:
    """Fetch a model and add it to the user's own.

    A transfer that broke off goes on where it stopped when it is asked for again.

    Parameters
    ----------
    source
        From :func:`find_source`.
    name, trust
        As for :func:`wsiseg.models.adding.add_model`.
    progress
        Told of every piece.

    Raises
    ------
    ModelError
        If there is no network, the transfer breaks off, the digest is another, or what came is
        no model that can be used.
    """
    called = name or source.name or re.sub(r"[^A-Za-z0-9._-]", "-", _stem(source.file))
    require_free(called)
    place = models_folder() / "downloads" / source.sha256
    with named_disk(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    _transfer(source, place, progress or (lambda done, total: None))
    added = _unpacked(source, place, called, trust=trust)
    place.unlink(missing_ok=True)
    return added


def _unpacked(source: Source, file: Path, name: str, *, trust: bool) -> Added:
    if is_packed(file):
        return unpack_model(file, name=name, trust=trust)
    with working_folder() as working:
        root = working / name
        if is_archive(source.file):
            with named_disk(root):
                unpack_archive(file, source.file, root)
            inside = list(root.iterdir())
            if len(inside) == 1 and inside[0].is_dir():
                root = inside[0]
            record = record_of(root, name, _plain(source.url))
        else:
            root.mkdir()
            copy = root / re.sub(r"[^A-Za-z0-9._-]", "-", source.file)
            with named_disk(copy):
                copy.symlink_to(file.absolute())
            record = record_of(copy, name, _plain(source.url))
        return place_model(record, root, name, trust=trust)


def _transfer(source: Source, place: Path, progress: Progress) -> None:
    """Bring the file to its place, whole and with the right digest."""
    tries = 0
    while True:
        before = place.stat().st_size if place.exists() else 0
        if before and content_of(place).sha256 == source.sha256:
            return
        whole = _receive(source, place, progress)
        after = place.stat().st_size if place.exists() else 0
        if whole:
            break
        tries = tries + 1 if after != before else TRIES
        if tries >= TRIES:
            raise ModelError(
                f"the transfer of {_plain(source.url)} broke off at {after:,} bytes; run the same "
                "command again: it goes on from there"
            )
    found = content_of(place).sha256
    if found != source.sha256:
        place.unlink()
        raise ModelError(
            f"{_plain(source.url)} is not the file that was asked for: its sha256 is {found}, not "
            f"{source.sha256}; nothing of it was kept"
        )


def _receive(source: Source, place: Path, progress: Progress) -> bool:
    """Go on with a transfer; whether it came to its end."""
    have = place.stat().st_size if place.exists() else 0
    request = urllib.request.Request(source.url, headers={"User-Agent": "wsiseg"})  # noqa: S310
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with _opener().open(request, timeout=TIMEOUT_SECONDS) as answer:
            start, total = _extent(answer, have)
            require_size(total or 0)
            done = _keep(answer, place, start, total, progress)
            return total is None or done == total
    except urllib.error.HTTPError as error:
        if error.code == 416:
            # More is there than the server has: it is not what the digest says.
            place.unlink(missing_ok=True)
            return False
        raise ModelError(
            f"{_plain(source.url)} cannot be fetched: the server says {error.code} {error.reason}"
        ) from error
    except urllib.error.URLError as error:
        raise _offline(source.url, error.reason) from error
    except (TimeoutError, http.client.HTTPException, ConnectionError) as error:
        if have == (place.stat().st_size if place.exists() else 0):
            raise _offline(source.url, error) from error
        return False


def _keep(answer: Any, place: Path, start: int, total: int | None, progress: Progress) -> int:
    """Write what comes, from ``start`` on; how many bytes are there then."""
    done = start
    with named_disk(place):
        file = place.open("r+b" if start else "wb")
    with file:
        file.seek(start)
        progress(done, total)
        # What goes wrong on the way here is not the disk's fault.
        for piece in pieces(answer):
            done += len(piece)
            require_size(done)
            with named_disk(place):
                file.write(piece)
                file.flush()
            progress(done, total)
        file.truncate()
    return done


def _extent(answer: Any, have: int) -> tuple[int, int | None]:
    """Where the answer begins in the file, and the size of the whole."""
    if answer.status == 206:
        match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if match is not None and int(match[1]) == have:
            return have, int(match[2]) if match[2] != "*" else None
        raise ModelError("the server sent another part of the file than was asked for; try again")
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a server only to where one may be sent in the first place."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
        headers: http.client.HTTPMessage, newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        _require_safe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_SafeRedirects())


def _require_safe(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" and host:
        return
    if parts.scheme == "http" and _is_loopback(host):
        return
    raise ConfigurationError(
        f"models are fetched from https addresses only, not from {_plain(url)}"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _offline(url: str, reason: object) -> ModelError:
    host = urllib.parse.urlsplit(url).hostname
    return ModelError(
        f"{host} cannot be reached ({reason}); if this computer has no network: fetch the model on "
        "another one, write it to a file with 'wsiseg models pack NAME FILE', carry that here and "
        "add it with 'wsiseg models unpack FILE'"
    )


def _plain(url: str) -> str:
    """An address without what may be secret in it: names, passwords, tokens."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rsplit("@", 1)[-1]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def _stem(file: str) -> str:
    for suffix in (".tar.gz", ".tar.bz2", ".tar.xz"):
        if file.lower().endswith(suffix):
            return file[: -len(suffix)]
    return Path(file).stem or "model"


def _catalogued(name: str) -> tuple[str, str]:
    path = models_folder() / "catalogue.toml"
    known: dict[str, Any] = {}
    if path.exists():
        try:
            with path.open("rb") as file:
                known = tomllib.loads(file.read(_MAX_CATALOGUE).decode())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"cannot read {path}: {error}") from error
    entry = known.get(name)
    if isinstance(entry, dict) and isinstance(entry.get("url"), str):
        return str(entry["url"]), str(entry.get("sha256", "")).lower()
    there = ", ".join(known) or "none"
    raise ConfigurationError(
        f"no address is known for {name!r} (those in {path}: {there}); give the address itself "
        "with --sha256"
    )
