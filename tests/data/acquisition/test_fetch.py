"""Downloads from servers that lose connections, ignore ranges, lie and refuse."""

import hashlib
import io
import itertools
import json
import os
import shutil
import socket
import time
import zipfile
from dataclasses import replace

import pytest

import data.acquisition.fetch
from config.errors import NoSpaceError, UserError
from data.acquisition.archives import SOURCES, Archive
from data.acquisition.fetch import DownloadError, fetch
from tests.data.acquisition.web_server import WebServer


def make_zip(size=600_000):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("set/a.bin", os.urandom(size))
    return buffer.getvalue()


CONTENT = make_zip()
OTHER = make_zip()


@pytest.fixture
def server(monkeypatch):
    # The environment may set a proxy, which cannot reach the test's server.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with WebServer() as running:
        yield running


def archive_of(*urls, known=True, content=CONTENT):
    return Archive(
        file="set.zip",
        urls=urls,
        folder="raw",
        members=("set/*",),
        n_files=1,
        size=len(content) if known else None,
        sha256=hashlib.sha256(content).hexdigest() if known else None,
        page="https://example.org/set",
    )


def run(archive, folder, **options):
    return fetch(archive, folder, **({"pause_s": 0.0, "timeout_s": 5.0} | options))


def names(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("known", [True, False])
def test_a_file_is_downloaded_once(server, tmp_path, known):
    url, served = server.add("set.zip", CONTENT)
    archive = archive_of(url, known=known)
    assert run(archive, tmp_path / "new") == tmp_path / "new" / "set.zip"
    assert run(archive, tmp_path / "new").read_bytes() == CONTENT
    assert served.asked == [""]
    assert names(tmp_path / "new") == ["set.zip"]


@pytest.mark.parametrize("known", [True, False])
def test_a_lost_connection_is_resumed(server, tmp_path, known):
    url, served = server.add("set.zip", CONTENT, break_at=250_000)
    assert run(archive_of(url, known=known), tmp_path).read_bytes() == CONTENT
    assert served.asked == ["", "bytes=250000-", "bytes=500000-"]


def test_an_interrupted_run_resumes(server, tmp_path, monkeypatch):
    url, served = server.add("set.zip", CONTENT)
    archive = archive_of(url)
    read = data.acquisition.fetch._read

    def interrupted(response, done, total):
        if done:
            raise KeyboardInterrupt
        return read(response, done, total)

    monkeypatch.setattr(data.acquisition.fetch, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(archive, tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert names(tmp_path) == ["set.zip.part", "set.zip.part.json"]
    kept = (tmp_path / "set.zip.part").stat().st_size
    assert kept > 0
    assert run(archive, tmp_path).read_bytes() == CONTENT
    assert served.asked == ["", f"bytes={kept}-"]


@pytest.mark.parametrize("known", [True, False])
def test_a_server_without_ranges(server, tmp_path, known):
    url, served = server.add("set.zip", CONTENT, ranges=False, break_at=400_000, breaks=1)
    assert run(archive_of(url, known=known), tmp_path).read_bytes() == CONTENT
    assert served.asked == ["", "bytes=400000-"]


def test_a_server_that_always_loses_the_connection_at_the_same_place_is_given_up(server, tmp_path):
    url, served = server.add("set.zip", CONTENT, ranges=False, break_at=400_000)
    with pytest.raises(DownloadError) as error:
        run(archive_of(url), tmp_path, attempts=3)
    assert "connection lost after 400.0 kB of 600.1 kB" in str(error.value)
    assert "3 times in a row" in str(error.value)
    assert "The partial download (400.0 kB) is kept" in str(error.value)
    assert len(served.asked) == 4


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "behaviour",
    [
        {"claimed": 7},  # 416: the file has seven bytes
        {"totals": itertools.count(700_000)},
        {"ranges": False, "drops": itertools.cycle([400_000, 300_000])},
    ],
)
def test_a_server_that_makes_the_download_start_over_again_and_again_is_given_up(
    server, tmp_path, known, behaviour
):
    url, served = server.add("set.zip", CONTENT, break_at=300_000, **behaviour)
    with pytest.raises(DownloadError, match=r"times in a row|started over|it offers a file"):
        run(archive_of(url, known=known), tmp_path, attempts=3)
    assert len(served.asked) <= 6


def test_the_next_mirror_resumes_the_download_of_the_first_one(server, tmp_path):
    first, _ = server.add("a.zip", CONTENT, break_at=300_000, breaks=1)
    server_404, _ = server.add("b.zip", status=404)
    last, served = server.add("c.zip", CONTENT, etag='"two"')
    archive = archive_of(first, server_404, last)
    with pytest.raises(DownloadError, match=r"(?s)connection lost after .* HTTP 404 Not Found"):
        run(replace(archive, urls=(first, server_404)), tmp_path, attempts=0)
    # The validator of one address does not apply to another.
    assert run(replace(archive, urls=(last,)), tmp_path).read_bytes() == CONTENT
    assert served.asked == ["bytes=300000-"]


def broken_off(server, tmp_path, **response):
    """A download without a checksum, of which 300,000 bytes of `OTHER` have arrived."""
    url, served = server.add("set.zip", OTHER, break_at=300_000, **response)
    archive = archive_of(url, known=False)
    with pytest.raises(DownloadError):
        run(archive, tmp_path, attempts=0)
    return archive, served


def test_a_file_that_changed_meanwhile_is_downloaded_again(server, tmp_path):
    archive, served = broken_off(server, tmp_path)
    served.content, served.etag, served.break_at = CONTENT, '"new"', None
    assert run(archive, tmp_path).read_bytes() == CONTENT


def add_part(folder, content, **note):
    """Puts a partial download and its note, if there is one, into a folder."""
    (folder / "set.zip.part").write_bytes(content)
    if note:
        (folder / "set.zip.part.json").write_text(json.dumps(note))


MONDAY, TUESDAY = "Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {}),
        ({"etag": '"one"'}, {"etag": '"two"'}),
        ({"etag": '"one"'}, {}),
        ({"etag": 'W/"one"'}, {"etag": 'W/"one"'}),
        ({"modified": MONDAY}, {"modified": TUESDAY}),
        ({"etag": 'W/"one"', "modified": MONDAY}, {"etag": 'W/"one"', "modified": TUESDAY}),
    ],
)
def test_parts_of_two_files_of_one_size_are_never_combined(server, tmp_path, before, after):
    archive, served = broken_off(server, tmp_path, **({"etag": None} | before))
    assert (tmp_path / "set.zip.part").stat().st_size == 300_000
    served.content, served.break_at, served.if_range = CONTENT, None, False
    served.etag, served.modified = after.get("etag"), after.get("modified")
    assert run(archive, tmp_path).read_bytes() == CONTENT


def test_without_a_checksum_another_mirror_starts_over(server, tmp_path):
    first, _ = server.add("a.zip", OTHER, break_at=300_000, breaks=1)
    gone, _ = server.add("b.zip", status=404)
    last, served = server.add("c.zip", CONTENT)
    archive = archive_of(first, gone, known=False)
    with pytest.raises(DownloadError, match=r"The partial download \(300\.0 kB\) is kept"):
        run(archive, tmp_path, attempts=0)
    assert run(replace(archive, urls=(gone, last)), tmp_path).read_bytes() == CONTENT
    assert served.asked == [""]


def test_a_new_file_whose_first_bytes_never_arrive_leaves_the_part_its_note(server, tmp_path):
    archive, served = broken_off(server, tmp_path)
    served.content, served.etag, served.break_at, served.breaks = CONTENT, '"new"', 0, 1
    assert run(archive, tmp_path).read_bytes() == CONTENT
    assert served.asked == ["", "bytes=300000-", "bytes=300000-"]


def test_a_file_that_ends_where_the_part_of_a_longer_one_does_starts_over(server, tmp_path):
    url, served = server.add("set.zip", CONTENT)
    add_part(tmp_path, OTHER, url=url, validator='"one"', total=700_000)
    assert run(archive_of(url, known=False), tmp_path).read_bytes() == CONTENT
    assert served.asked == [f"bytes={len(OTHER)}-", ""]


def test_trailers_without_an_end_are_not_waited_for(server, tmp_path):
    body = b"%x\r\n%s\r\n0\r\n" % (len(CONTENT), CONTENT)
    url, _ = server.add("set.zip", body, length=-1, chunked=True, trailer=b"X: y\r\n")
    began = time.monotonic()
    assert run(archive_of(url, known=False), tmp_path, timeout_s=5).read_bytes() == CONTENT
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("known", [True, False])
def test_a_part_of_another_file_is_discarded(server, tmp_path, known):
    # Each lost connection is progress, also where it ends before the discarded part did.
    url, served = server.add("set.zip", CONTENT, break_at=None if known else 20_000)
    add_part(tmp_path, OTHER[:100_000], url=url, validator='"one"', total=7)
    if known:  # then the checksum decides, not the recorded size
        (tmp_path / "set.zip.part.json").write_text("broken")
    assert run(archive_of(url, known=known), tmp_path).read_bytes() == CONTENT
    assert served.asked[:2] == ["bytes=100000-", ""]


def test_a_part_that_is_too_long_is_discarded(server, tmp_path):
    url, served = server.add("set.zip", CONTENT)
    (tmp_path / "set.zip.part").write_bytes(CONTENT + b"more")
    assert run(archive_of(url), tmp_path).read_bytes() == CONTENT
    assert served.asked == [""]


@pytest.mark.parametrize("known", [True, False])
def test_a_complete_part_is_used(server, tmp_path, known):
    url, served = server.add("set.zip", CONTENT)
    add_part(tmp_path, CONTENT, url=url, validator='"one"')
    assert run(archive_of(url, known=known), tmp_path).read_bytes() == CONTENT
    assert served.asked == ([] if known else [f"bytes={len(CONTENT)}-"])


def test_a_part_longer_than_the_file_on_the_server_starts_over(server, tmp_path):
    url, served = server.add("set.zip", CONTENT)
    add_part(tmp_path, CONTENT + b"more", url=url, validator='"one"')
    assert run(archive_of(url, known=False), tmp_path).read_bytes() == CONTENT
    assert served.asked == [f"bytes={len(CONTENT) + 4}-", ""]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"status": 404}, "HTTP 404"),
        ({"status": 503}, "HTTP 503 Service Unavailable, 2 times in a row"),
        ({"content": b"<html>gone</html>", "content_type": "text/html"}, "a web page instead"),
        (
            {"content": b"<html>gone</html>" * 100_000, "length": -1},
            "something other than a zip file",
        ),
        ({"content": CONTENT + b"."}, "offers a file of 600,1"),
        ({"content": CONTENT + b".", "length": -1}, "sends more than the expected"),
        ({"content": OTHER}, "a different file: its SHA-256 is"),
        ({"content": CONTENT[:-9], "length": len(CONTENT)}, "it has 600,107 bytes instead of"),
        ({"content": CONTENT[:-9], "length": -1}, "it has 600,107 bytes instead of"),
    ],
)
def test_a_bad_mirror_is_named_and_the_next_one_tried(server, tmp_path, capsys, behaviour, reason):
    bad, _ = server.add("bad.zip", **behaviour)
    good, _ = server.add("good.zip", CONTENT)
    with pytest.raises(DownloadError) as error:
        run(archive_of(bad), tmp_path, attempts=2)
    message = str(error.value)
    assert bad in message
    assert reason in message
    assert "Manual download" in message
    assert "https://example.org/set" in message
    assert str(tmp_path / "set.zip") in message
    assert archive_of().sha256 in message
    assert run(archive_of(bad, good), tmp_path, attempts=2).read_bytes() == CONTENT
    assert f"set.zip ← {good}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"location": "http://[::1/x"}, "no response: "),
        ({"location": "http://a..b/"}, "no response: "),
        ({"location": "http://\u00fc\u00e9.example..org/"}, "no response: "),
        ({"location": "http://127.0.0.1:port/"}, "no response: "),
        ({"location": "ftp://127.0.0.1/set.zip"}, "it redirects to ftp://127.0.0.1/set.zip, which"),
        ({"content": b"-5\r\n" + CONTENT, "length": -1, "chunked": True}, "connection lost"),
        ({"content": b"-1\r\n" + OTHER, "length": -1, "chunked": True}, "connection lost"),
        ({"content": b"x\r\n" + CONTENT, "length": -1, "chunked": True}, "connection lost"),
    ],
)
def test_an_odd_server_is_named_and_the_next_one_tried(server, tmp_path, behaviour, reason):
    bad, _ = server.add("bad.zip", **behaviour)
    good, _ = server.add("good.zip", CONTENT)
    with pytest.raises(DownloadError) as error:
        run(archive_of(bad), tmp_path, attempts=2)
    assert reason in str(error.value)
    assert run(archive_of(bad, good), tmp_path, attempts=2).read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["\u00b2", "9" * 5000, "-7", "1_000"])
def test_a_length_that_is_no_number_counts_as_unknown(server, tmp_path, length):
    url, _ = server.add("set.zip", CONTENT, length=length, break_at=300_000, breaks=1)
    span = f"bytes 300000-{len(CONTENT) - 1}/{length}"
    rest, _ = server.add("rest.zip", CONTENT, length=length, span=span)
    assert run(archive_of(url, rest), tmp_path, attempts=1).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "note",
    [
        "[" * 100_000,
        '{"url": "URL", "validator": "\\u20ac"}',
        '{"url": "URL", "validator": "a\\nb"}',
        '{"url": "URL", "validator": 7}',
        '{"url": "URL", "total": ' + "9" * 5000 + "}",
    ],
)
def test_a_damaged_note_is_ignored(server, tmp_path, note):
    url, served = server.add("set.zip", CONTENT)
    (tmp_path / "set.zip.part").write_bytes(CONTENT[:100_000])
    (tmp_path / "set.zip.part.json").write_text(note.replace("URL", url))
    assert run(archive_of(url), tmp_path).read_bytes() == CONTENT
    assert served.asked == ["bytes=100000-"]


def test_a_response_without_an_end_ends_at_the_bound(server, tmp_path):
    url, _ = server.add("set.zip", CONTENT, length=-1)
    archive = replace(archive_of(url, known=False), most_bytes=300_000)
    with pytest.raises(DownloadError, match="sends more than the expected 300,000 bytes"):
        run(archive, tmp_path)
    assert all(download.most for source in SOURCES.values() for download in source.downloads)


def test_a_server_that_lies_about_an_unknown_size_is_noticed(server, tmp_path):
    url, _ = server.add("set.zip", CONTENT, length=len(CONTENT) - 50)
    with pytest.raises(DownloadError, match="truncated or damaged"):
        run(archive_of(url, known=False), tmp_path)


def test_a_server_that_sends_another_range_is_refused(server, tmp_path):
    url, _ = server.add("set.zip", CONTENT, break_at=300_000, span="bytes 5-10/600000")
    with pytest.raises(DownloadError, match='starts at byte 300000, but it sends "bytes 5-10'):
        run(archive_of(url), tmp_path)


def test_a_server_that_is_briefly_busy_is_asked_again(server, tmp_path):
    url, served = server.add("set.zip", CONTENT, status=503, failures=2)
    assert run(archive_of(url), tmp_path).read_bytes() == CONTENT
    assert len(served.asked) == 3


def test_a_server_that_does_not_respond(server, tmp_path):
    good, _ = server.add("set.zip", CONTENT)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]  # nobody listens there
        urls = (f"http://127.0.0.1:{port}/set.zip", good)
        with pytest.raises(DownloadError, match=r"no response: .*refused"):
            run(archive_of(urls[0]), tmp_path)
        silent.listen()
        with pytest.raises(DownloadError, match="no response: timed out"):
            run(archive_of(urls[0]), tmp_path, timeout_s=0.2)
        assert run(archive_of(*urls), tmp_path, timeout_s=0.2).read_bytes() == CONTENT


def test_a_file_downloaded_manually_is_verified(tmp_path):
    (tmp_path / "set.zip").write_bytes(CONTENT)
    assert run(archive_of("http://127.0.0.1:9/none"), tmp_path).read_bytes() == CONTENT
    for wrong, fault in ((OTHER[:-1], "instead of"), (OTHER, "SHA-256")):
        (tmp_path / "set.zip").write_bytes(wrong)
        with pytest.raises(DownloadError, match=fault):
            run(archive_of("http://127.0.0.1:9/none"), tmp_path)
        assert (tmp_path / "set.zip").read_bytes() == wrong


@pytest.mark.parametrize("name", ["set.zip", "set.zip.part", "set.zip.part.json"])
def test_a_folder_in_the_place_of_a_file_is_named_before_anything_is_sent(server, tmp_path, name):
    url, served = server.add("set.zip", CONTENT)
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=rf"^{tmp_path / name} is a folder, .* move it away"):
        run(archive_of(url), tmp_path)
    assert served.asked == []
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("name", ["set.zip.part", "set.zip.part.json"])
def test_links_are_not_followed_to_files_of_others(server, tmp_path, name):
    url, served = server.add("set.zip", CONTENT)
    (tmp_path / "notes").write_text("my own notes")
    (tmp_path / name).symlink_to(tmp_path / "notes")
    with pytest.raises(UserError, match=rf"^{tmp_path / name} is a link, .* move it away"):
        run(archive_of(url), tmp_path)
    assert served.asked == []
    assert (tmp_path / "notes").read_text() == "my own notes"


def test_the_note_of_a_file_that_is_complete_is_removed(tmp_path):
    """A process that is killed after renaming the part leaves it."""
    (tmp_path / "set.zip").write_bytes(CONTENT)
    (tmp_path / "set.zip.part.json").write_text("{}")
    run(archive_of("http://127.0.0.1:1/set.zip"), tmp_path)
    assert names(tmp_path) == ["set.zip"]


def test_the_file_itself_may_be_a_link(tmp_path):
    (tmp_path / "elsewhere.zip").write_bytes(CONTENT)
    (tmp_path / "set.zip").symlink_to(tmp_path / "elsewhere.zip")
    assert run(archive_of("http://127.0.0.1:9/none"), tmp_path).read_bytes() == CONTENT


def test_too_little_space_is_an_error_before_anything_is_written(server, tmp_path, monkeypatch):
    url, _ = server.add("set.zip", CONTENT)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        NoSpaceError, match=r"set\.zip needs 600\.1 kB and .* 1\.0 kB free: .*--output"
    ):
        run(archive_of(url), tmp_path)
    assert names(tmp_path) == []
