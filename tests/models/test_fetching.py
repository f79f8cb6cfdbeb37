"""Models from the network, played by a server in the test."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import socket
import struct
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runs import wsiseg_command
from wsiseg.errors import ConfigurationError, ModelError
from wsiseg.models import fetching
from wsiseg.models.added import added_models, models_folder, read_record
from wsiseg.models.fetching import Source, fetch_model, find_source
from wsiseg.models.packing import pack_model
from wsiseg.models.zoo import find_model, load_segmenter


@dataclass
class Served:
    """What a server has, and how it behaves.

    ``breaks`` are numbers of bytes after which it hangs up, one an answer, and ``rudely`` whether
    it resets the connection then; ``ranges`` whether it knows parts of files; ``asked`` what it
    was asked for: path and range.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    rudely: bool = False
    ranges: bool = True
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def source(self, name: str, content: bytes | None = None) -> Source:
        """Of a file, with the digest of another content if one is given."""
        wanted = self.files[name] if content is None else content
        return find_source(f"{self.url}/{name}", hashlib.sha256(wanted).hexdigest())


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Served]:
    monkeypatch.setenv("WSISEG_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Served()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, part = self.path.lstrip("/"), self.headers.get("Range", "")
            state.asked.append((name, part))
            if name in state.redirects:
                self.send_response(302)
                self.send_header("Location", state.redirects[name])
                self.end_headers()
                return
            if name not in state.files:
                self.send_error(404)
                return
            content = state.files[name]
            start = int(part.removeprefix("bytes=").rstrip("-")) if part and state.ranges else 0
            if start >= len(content) > 0 and start:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = start + state.breaks.pop(0) if state.breaks else len(content)
            self.wfile.write(content[start:end])
            if state.rudely and end < len(content):
                self.wfile.flush()
                time.sleep(0.2)
                lingering = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
                self.connection.close()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A zip archive with a folder in it, as people publish models."""
    folder = tmp_path_factory.mktemp("archive")
    with zipfile.ZipFile(folder / "model.zip", "w") as packed:
        for file in find_model("nuclei-he").iterdir():
            packed.write(file, f"nuclei/{file.name}")
    return (folder / "model.zip").read_bytes()


def downloads() -> list[Path]:
    folder = models_folder() / "downloads"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def test_an_archive_is_fetched_and_added(served: Served, archive: bytes) -> None:
    served.files["our-model.zip"] = archive
    steps: list[tuple[int, int | None]] = []
    added = fetch_model(
        served.source("our-model.zip"), progress=lambda done, total: steps.append((done, total))
    )
    assert added.name == "our-model"
    assert load_segmenter("our-model").spec.sha256 == load_segmenter("nuclei-he").spec.sha256
    assert steps[0] == (0, len(archive))
    assert steps[-1] == (len(archive), len(archive))
    assert read_record("our-model").source == f"{served.url}/our-model.zip"
    assert downloads() == []


def test_a_packed_model_is_fetched(served: Served, tmp_path: Path) -> None:
    pack_model("nuclei-he", tmp_path / "packed.zip")
    served.files["packed.zip"] = (tmp_path / "packed.zip").read_bytes()
    assert fetch_model(served.source("packed.zip"), name="mine").name == "mine"


def test_a_transfer_that_breaks_off_goes_on_by_itself(served: Served, archive: bytes) -> None:
    served.files["model.zip"] = archive
    served.breaks = [200_000, 300_000]
    fetch_model(served.source("model.zip"))
    assert [part for _, part in served.asked] == ["", "bytes=200000-", "bytes=500000-"]
    assert added_models() == ("model",)


def test_a_connection_that_is_reset_goes_on_too(served: Served, archive: bytes) -> None:
    served.files["model.zip"] = archive
    served.breaks, served.rudely = [2_500_000], True
    fetch_model(served.source("model.zip"))
    # What had not filled a piece is asked for again.
    assert served.asked[1][1] in ("bytes=2097152-", "bytes=2500000-")
    assert added_models() == ("model",)


def test_a_transfer_that_stays_broken_goes_on_at_the_next_command(
    served: Served, archive: bytes
) -> None:
    served.files["model.zip"] = archive
    served.breaks = [100_000] * fetching.TRIES
    with pytest.raises(ModelError, match=r"broke off at 400,000 bytes; run the same command again"):
        fetch_model(served.source("model.zip"))
    assert added_models() == ()
    served.asked.clear()
    fetch_model(served.source("model.zip"))
    assert served.asked == [("model.zip", "bytes=400000-")]


def test_a_server_without_parts_begins_anew(served: Served, archive: bytes) -> None:
    served.files["model.zip"] = archive
    served.ranges = False
    served.breaks = [100_000]
    fetch_model(served.source("model.zip"))
    assert added_models() == ("model",)


def test_another_digest_is_refused_and_nothing_kept(served: Served, archive: bytes) -> None:
    served.files["model.zip"] = archive
    with pytest.raises(ModelError, match="not the file that was asked for"):
        fetch_model(served.source("model.zip", archive + b"x"))
    assert added_models() == ()
    assert downloads() == []


def test_what_was_left_by_something_else_does_not_count(served: Served, archive: bytes) -> None:
    served.files["model.zip"] = archive
    source = served.source("model.zip")
    left = models_folder() / "downloads" / source.sha256
    left.parent.mkdir(parents=True)
    left.write_bytes(archive + b"more")
    fetch_model(source)
    assert added_models() == ("model",)


def test_what_is_there_whole_is_not_fetched_again(served: Served, archive: bytes) -> None:
    served.files["model.zip"] = archive
    source = served.source("model.zip")
    left = models_folder() / "downloads" / source.sha256
    left.parent.mkdir(parents=True)
    left.write_bytes(archive)
    fetch_model(source)
    assert served.asked == []


def test_what_is_no_model_is_not_added(served: Served) -> None:
    served.files["notes.txt"] = b"no model"
    with pytest.raises(ModelError, match="no model in a format known here"):
        fetch_model(served.source("notes.txt"))
    assert added_models() == ()


def test_a_name_that_is_taken_is_refused_before_anything_is_fetched(
    served: Served, archive: bytes
) -> None:
    served.files["nuclei-he.zip"] = archive
    with pytest.raises(ModelError, match="already"):
        fetch_model(served.source("nuclei-he.zip"))
    assert served.asked == []


def test_a_missing_file_is_told(served: Served) -> None:
    source = find_source(f"{served.url}/gone.zip", "0" * 64)
    with pytest.raises(ModelError, match="the server says 404"):
        fetch_model(source)


def test_without_a_network_it_says_what_to_do(served: Served) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    source = find_source(f"http://127.0.0.1:{port}/model.zip", "0" * 64)
    with pytest.raises(ModelError, match=r"127\.0\.0\.1 cannot be reached .*unpack FILE"):
        fetch_model(source)


def test_redirects_are_followed_to_safe_addresses_only(served: Served, archive: bytes) -> None:
    served.files["real.zip"] = archive
    served.redirects = {
        "model.zip": f"{served.url}/real.zip",
        "away.zip": "http://models.example/x.zip",
    }
    digest = hashlib.sha256(archive).hexdigest()
    fetch_model(find_source(f"{served.url}/model.zip", digest))
    with pytest.raises(ConfigurationError, match="https addresses only"):
        fetch_model(find_source(f"{served.url}/away.zip", digest), name="away")


def test_proxies_of_the_environment_are_used(
    served: Served, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To a proxy the whole address is said.
    url = "http://localhost:1/model.zip"
    served.files[url] = archive
    monkeypatch.setenv("http_proxy", served.url)
    monkeypatch.setenv("no_proxy", "elsewhere")
    fetch_model(find_source(url, hashlib.sha256(archive).hexdigest()))
    assert served.asked[0][0] == url


@pytest.mark.parametrize(
    "url",
    [
        "http://models.example/m.zip",
        "ftp://models.example/m.zip",
        "file:///etc/passwd",
        "https:///m.zip",
        "http://127.0.0.1.example/m.zip",
    ],
)
def test_only_https_is_fetched(url: str) -> None:
    with pytest.raises(ConfigurationError, match="https addresses only"):
        find_source(url, "0" * 64)


def test_a_digest_is_needed(served: Served) -> None:
    with pytest.raises(ConfigurationError, match="--sha256 is needed"):
        find_source("https://models.example/m.zip", None)
    with pytest.raises(ConfigurationError, match="is no sha256"):
        find_source("https://models.example/m.zip", "abc")


def test_names_come_from_the_catalogue_of_the_site(served: Served, archive: bytes) -> None:
    with pytest.raises(ConfigurationError, match="no address is known for 'ours'"):
        find_source("ours", None)
    served.files["m.zip"] = archive
    digest = hashlib.sha256(archive).hexdigest()
    models_folder().mkdir()
    catalogue = models_folder() / "catalogue.toml"
    catalogue.write_text(f'[ours]\nurl = "{served.url}/m.zip"\nsha256 = "{digest.upper()}"\n')
    source = find_source("ours", None)
    assert source == Source(f"{served.url}/m.zip", digest, "m.zip", "ours")
    assert fetch_model(source).name == "ours"
    with pytest.raises(ConfigurationError, match="another sha256"):
        find_source("ours", "0" * 64)
    catalogue.write_text("[")
    with pytest.raises(ConfigurationError, match="cannot read"):
        find_source("ours", None)


def test_secrets_in_addresses_are_not_kept(served: Served, archive: bytes) -> None:
    served.files["m.zip?token=secret"] = archive
    source = find_source(f"{served.url}/m.zip?token=secret", hashlib.sha256(archive).hexdigest())
    fetch_model(source)
    assert read_record("m").source == f"{served.url}/m.zip"


def test_the_command_line(served: Served, archive: bytes) -> None:
    served.files["model.zip"] = archive
    url = f"{served.url}/model.zip"
    refused = wsiseg_command("models", "fetch", url)
    assert refused.returncode == 1
    assert "--sha256 is needed" in refused.stderr
    digest = hashlib.sha256(archive).hexdigest()
    done = wsiseg_command("models", "fetch", url, "--sha256", digest, "--name", "fetched")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert added_models() == ("fetched",)
    shutil.rmtree(models_folder())
