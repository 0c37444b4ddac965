"""S5, S6 and S7: no path, no foreign host or page, no request to anywhere, whatever is sent."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from commands import hand, until

NOTHING = b'{"detail":"there is no such thing here"}'
TRICKS = [
    "..", "../..", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e", "%2e%2e/%2e%2e", "%2e%2e%2f",
    "%252e%252e%252f", "....//....//", "..;/", "..\\..\\", "..%5c..%5c", "%5c%5cserver%5cshare", "//etc/passwd",
    "/etc/passwd", "%2fetc%2fpasswd", "file:%2f%2f%2fetc%2fpasswd", "http:%2f%2f127.0.0.1", "C:", "C:%5cwindows",
    "c:%2f", "%00", "zoo.dcgan.faces%00", "%00.png", "~", "~root", "%7eroot", "$HOME", "%24HOME", "zoo.dcgan.faces.",
    "zoo.dcgan.faces%20", "zoo.dcgan.faces%2e", "ZOO.DCGAN.FACES", "zoo/dcgan/faces", "zoo%2fdcgan%2ffaces",
    "zoo:dcgan%2ffaces", "%ef%bc%8e%ef%bc%8e%ef%bc%8f", "%e2%81%84etc", "%c0%ae%c0%ae", "%u002e%u002e", "CON", "NUL",
    "aux.png", "link-out", "link-out%2frecipe.toml", ".", "%2e", "-", "--help", "*", "%2a", "?", "%3f", "[a-z]",
    "{zoo}", "%0d%0aSet-Cookie:%20a=b", "%0a", "zoo.dcgan.faces;id", "`id`", "$(id)", "<script>",
    "%3cimg%20src=x%3e", "a" * 5000, "\u202egnp", "%f0%9f%92%a9",
]  # fmt: skip
ROUTES = (
    "/api/runs/{}", "/api/runs/{}/events", "/api/runs/{}/sheet.png", "/api/runs/zoo.dcgan.faces/samples/{}/sheet.png",
    "/api/runs/zoo.dcgan.faces/films/{}", "/api/systems/{}", "/api/systems/dcgan/source/{}", "/api/systems/{}/card.png",
    "/api/recipes/{}", "/api/jobs/{}", "/api/uploads/{}", "/api/uploads/{}/files/f0",
    "/api/results/{}", "/api/results/{}/files/f0",
    "/api/results/{}/all.zip", "/api/folders/{}", "/api/estimates/{}", "/{}", "/assets/{}",
)  # fmt: skip


def answer_of(line):
    """One whole answer from a socket."""
    answer = b""
    while chunk := line.recv(65_536):
        answer += chunk
        head, end, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if end and length and len(body) >= int(length[1]):
            break
    return answer


def raw(server, request, more=b"", wait=10.0):
    """Send bytes as they are; the answer's bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as line:
        line.sendall(request + more)
        return answer_of(line)


class Line:
    """A connection that is kept, for many questions."""

    def __init__(self, server):
        self.server, self.line = server, None

    def __call__(self, path):
        for _ in range(2):
            if self.line is None:
                self.line = socket.create_connection(("127.0.0.1", self.server.port), timeout=10)
            self.line.sendall(
                f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.server.port}\r\n\r\n".encode("latin-1", "replace")
            )
            answer = answer_of(self.line)
            if not answer or b"connection: close" in answer.lower():
                self.line.close()
                self.line = None
            if answer:
                return answer
        raise AssertionError("no answer")

    def close(self):
        if self.line is not None:
            self.line.close()


def request(server, method="GET", path="/api/glossary", body=b"", **headers):
    told = {"host": f"127.0.0.1:{server.port}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    if body:
        told.setdefault("content-length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return raw(server, f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1"), body)


def status(answer):
    return int(answer.split(b" ", 2)[1])


def test_s5_sixty_tricks_on_every_id_find_nothing_and_all_answers_are_alike(server):
    outside = server.place / "outside"
    outside.mkdir()
    (outside / "recipe.toml").write_text('name = "toy_gan/smoke"\n')
    (server.place / "runs").mkdir(exist_ok=True)
    (server.place / "runs" / "link-out").symlink_to(outside)
    assert len(TRICKS) >= 60
    ask = Line(server)
    for route in ROUTES:
        for trick in TRICKS:
            answer = ask(route.format(trick.encode().decode("latin-1")).replace(" ", "%20"))
            code, body = status(answer), answer.partition(b"\r\n\r\n")[2]
            if route == "/{}" and trick in ("?", ".", "%2e", "%0a"):
                continue  # the page itself
            assert (code == 404 and body == NOTHING) or code == 400, (route, trick, answer[:400])
    ask.close()


def test_on_a_connection_that_is_kept_no_body_waits_until_its_head_is_acknowledged(server):
    ask, times = Line(server), []
    for _ in range(10):
        began = time.perf_counter()
        assert status(ask("/api/glossary")) == 200
        times.append(time.perf_counter() - began)
    ask.close()
    assert min(times[1:]) < 0.03  # the operating system acknowledges after 40 ms


def test_s5_an_id_that_exists_elsewhere_takes_as_long_as_one_that_does_not(server):
    def median(path):
        times = []
        for _ in range(30):
            began = time.perf_counter()
            server.get(path, 404)
            times.append(time.perf_counter() - began)
        return sorted(times)[15]

    (server.place / "elsewhere").mkdir(exist_ok=True)
    there, missing = median("/api/runs/..%2Felsewhere"), median("/api/runs/..%2Fnowhere")
    assert abs(there - missing) < max(0.5 * missing, 0.02)


def test_s6_foreign_hosts_origins_and_forms_are_refused(server):
    own = f"http://127.0.0.1:{server.port}"
    assert status(request(server)) == 200
    assert status(request(server, host=f"localhost:{server.port}")) == 200
    for host in (
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:80",
        "",
        "127.0.0.1@evil.example",
        "[::2]",
        "0.0.0.0",
    ):
        assert status(request(server, host=host)) in (400, 403), host
    for origin in (
        "http://evil.example",
        "null",
        "file://",
        "http://127.0.0.1:1",
        f"{own}.evil.example",
        "http://[",
        own.replace("http", "ftp"),
    ):
        assert status(request(server, origin=origin)) == 403, origin
        answer = request(server, "POST", "/api/uploads", b"{}", origin=origin, content_type="application/json")
        assert status(answer) == 403, origin
    assert status(request(server, "POST", "/api/uploads", b"{}", origin=own, content_type="application/json")) == 201
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "",
    ):
        assert status(request(server, "POST", "/api/uploads", b"{}", content_type=kind)) == 400, kind
    assert status(request(server, sec_fetch_site="cross-site")) == 403
    assert status(request(server, path="/", sec_fetch_site="cross-site", sec_fetch_mode="navigate")) == 200
    assert status(request(server, "POST", "/api/uploads", sec_fetch_site="cross-site")) == 403
    assert status(request(server, "POST", "/api/uploads")) in (400, 422)


def test_s6_large_heads_and_odd_ranges_do_no_harm(server):
    assert status(request(server, x_long="a" * 65_536)) in (400, 431)
    for ranges in (
        "bytes=0-",
        "bytes=-1",
        "bytes=" + ",".join(f"{i}-{i}" for i in range(3000)),
        "bytes=99999999999999999999-",
        "lines=1",
    ):
        began = time.perf_counter()
        answer = request(server, path="/", range=ranges)
        assert status(answer) in (200, 206, 416) and time.perf_counter() - began < 1.0
    assert status(request(server, "TRACE")) in (400, 404, 405)
    assert status(raw(server, b"NONSENSE\r\n\r\n")) == 400


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_s6_sockets_from_another_page_are_refused(server, origin):
    with (
        pytest.raises(InvalidStatus) as told,
        connect(f"ws://127.0.0.1:{server.port}/api/live", origin=origin, proxy=None),
    ):
        pass
    assert told.value.response.status_code == 403


def test_s6_off_the_loopback_nothing_starts_without_a_token_and_nothing_answers_without_it(own_server, tmp_path):
    for words in (("--host", "0.0.0.0"), ("--host", "::"), ("--host", "192.168.0.1"), ("--host", "example.org")):
        refused = hand("studio", *words, "--port", "0", cwd=tmp_path, HANDMADE_HOME=str(tmp_path / "other"))
        assert refused.code == 2 and "token" in refused.complaint()
    short = hand("studio", "--token", "short", "--port", "0", cwd=tmp_path, HANDMADE_HOME=str(tmp_path / "other"))
    assert short.code == 2 and "12 to 200" in short.complaint()
    server = own_server("--host", "0.0.0.0", HANDMADE_STUDIO_TOKEN="a-very-secret-token")
    url = f"http://127.0.0.1:{server.port}"
    with httpx.Client(base_url=url, trust_env=False) as client:
        for path in ("/", "/api/systems", "/v1/models", "/api/openapi.json", "/?token=wrong-token-12345"):
            assert client.get(path).status_code == 401
        assert client.get("/api/runs", headers={"authorization": "Bearer a-very-secret-token"}).status_code == 200
        entered = client.get("/?token=a-very-secret-token")
        assert entered.status_code == 303 and entered.headers["location"] == "/"
        assert "HttpOnly" in entered.headers["set-cookie"] and "SameSite=Strict" in entered.headers["set-cookie"]
        assert client.get("/api/runs").status_code == 200  # by the cookie
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{server.port}/api/live", proxy=None):
        pass
    wanted, token = {"recipe": "toy_gan.smoke", "overrides": {"config.pause": "0.05"}}, "Bearer a-very-secret-token"
    job = httpx.post(f"{url}/api/jobs", json=wanted, headers={"authorization": token}, trust_env=False).json()
    pid = until(lambda: json.loads((server.place / "home/studio/jobs" / job["id"] / "job.json").read_text())["pid"])
    assert b"a-very-secret-token" not in Path(f"/proc/{pid}/environ").read_bytes()  # S12: its processes need not know


def test_s6_the_addresses_that_are_printed_can_be_opened(own_server):
    token = "a-very-secret-token"
    server = own_server("--host", "0.0.0.0", "--name", "MyBox.local", HANDMADE_STUDIO_TOKEN=token)
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert server.process.stdout.readline().strip() == f"http://MyBox.local:{server.port}/?token={token}"
    for host in (f"127.0.0.1:{server.port}", f"MyBox.local:{server.port}", f"mybox.local:{server.port}"):
        assert status(request(server, path=f"/?token={token}", host=host)) == 303, host
    assert "--name" in until(server.said)


def test_every_answer_carries_the_headers_of_safety(server):
    for path in ("/", "/api/systems", "/api/no-such", "/v1/models"):
        headers = server.client.get(path).headers
        assert (
            headers["content-security-policy"].startswith("default-src 'self'")
            and "unsafe" not in headers["content-security-policy"]
        )
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert "server" not in headers and "access-control-allow-origin" not in headers


WATCHED = """
import sys, socket
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        place = arguments[1] if event == "socket.connect" else arguments[0]
        open({log!r}, "a").write(f"{{event}} {{place}}\\n")
sys.addaudithook(watch)
"""
URLS = [
    "http://127.0.0.1:1/x", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "http://[::ffff:127.0.0.1]/", "ftp://localhost",
    "gopher://localhost", "//evil.example/x", "\\\\evil.example\\share", "jar:http://x!/", "https://evil.example/redirect",
]  # fmt: skip


def test_s7_no_text_field_makes_the_server_or_its_workers_ask_the_network(own_server, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    log = tmp_path / "connections.txt"
    (site / "sitecustomize.py").write_text(WATCHED.format(log=str(log)))
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    server = own_server(PYTHONPATH=path)
    upload = server.upload(("a.txt", b"hello"))["id"]
    for url in URLS:
        server.post("/api/jobs", {"recipe": "toy_gan.smoke", "name": url, "overrides": {"data.curve": url}}, 422)
        server.post("/api/jobs", {"recipe": "toy_gan.smoke", "start": url}, 422)
        server.post("/api/jobs", {"recipe": url}, 422)
        server.post("/api/estimates", {"recipe": "gpt.smoke", "data": {"folder": url}}, 422)
        server.post("/api/uploads", {"name": url})
        server.put(upload, url, b"hello")
        server.post("/api/runs/zoo.gpt.plays/asks/continue", {"arguments": {"prompt": url, "max_tokens": 1}})
        server.post("/api/runs/zoo.gpt.plays/asks/continue", {"arguments": {"file": url}}, 422)
        server.post("/v1/completions", {"model": url, "prompt": url}, 404)
        server.post("/v1/completions", {"model": "zoo.gpt.plays", "prompt": url, "max_tokens": 1})
    assert not log.exists(), log.read_text()
    knock = "import socket\ntry: socket.create_connection(('127.0.0.1', 1))\nexcept OSError: pass"
    probe = subprocess.run([sys.executable, "-c", knock], env={**os.environ, "PYTHONPATH": path}, check=True)
    assert probe.returncode == 0 and "127.0.0.1" in log.read_text()  # the watch does watch


def test_two_studios_do_not_share_a_store(own_server, tmp_path):
    own_server()
    second = hand("studio", "--port", "0", cwd=tmp_path, HANDMADE_HOME=str(tmp_path / "home"))
    assert second.code == 2 and "open already" in second.complaint()


def test_a_port_that_is_taken_is_a_plain_line(server, tmp_path):
    taken = hand("studio", "--port", server.port, cwd=tmp_path, HANDMADE_HOME=str(tmp_path / "home"))
    assert taken.code == 2 and "choose another --port" in taken.complaint()
