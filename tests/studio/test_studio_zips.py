"""A .zip is as many files: several may come at once, and one that is refused does not keep the others out."""

from __future__ import annotations

import io
import threading
import zipfile

from handmade.studio.places import Places
from handmade.studio.uploads import Uploads


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_four_zips_at_once_lose_no_file(tmp_path):
    uploads, errors = Uploads(Places(runs=tmp_path / "runs", home=tmp_path / "home")), []
    upload = uploads.begin("mine", "data")["id"]
    packed = [zipped({f"{k}/{i}.txt": f"{k} {i}" for i in range(30)}) for k in range(4)]

    def send(content):
        try:
            uploads.add(upload, "some.zip", io.BytesIO(content))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=send, args=(content,)) for content in packed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = uploads.folder / upload
    assert not errors and {path.read_text() for path in (folder / "files").rglob("*.txt")} == {
        f"{k} {i}" for k in range(4) for i in range(30)
    }
    assert uploads.view(uploads.about(upload))["count"] == 120 and not list(folder.glob("*.zip"))


def test_what_is_refused_in_a_zip_is_named_and_the_rest_is_kept(server):
    upload = server.post("/api/uploads", {})["id"]
    files = {"../../evil.txt": b"x", "a.txt": b"a", "b.exe": b"MZ", "c.txt": b"\xff\xfe", "d.txt": b"d"}
    told = server.put(upload, "some.zip", zipped(files)).json()
    assert [file["name"] for file in told["files"]] == ["a.txt", "d.txt"] and told["count"] == 2
    assert [line.split(":")[0] for line in told["refused"]] == [
        "'../../evil.txt' is no name that can be kept", "b.exe", "c.txt",
    ]  # fmt: skip
    assert not list(server.place.rglob("evil*")) and server.get(f"/api/uploads/{upload}")["count"] == 2
    assert server.put(upload, "one.txt", b"one").json()["refused"] == []


def test_a_zip_of_which_nothing_can_be_kept_is_refused_with_the_first_reason(server):
    upload = server.post("/api/uploads", {})["id"]
    answer = server.put(upload, "bad.zip", zipped({"a.exe": b"MZ", "b.exe": b"MZ"}))
    assert answer.status_code == 422 and answer.json()["detail"].startswith("a.exe: not a picture")
