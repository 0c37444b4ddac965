"""A studio as a user has it: a server process of its own, with a store and a folder of runs of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from commands import command, until


class Server:
    """One server process, and a client that talks to it as the page does."""

    def __init__(self, place: Path, *words: str, **environment: str):
        self.place, self.words, self.environment = place, words, environment
        self.start()

    def start(self) -> None:
        env = {
            **os.environ, "OMP_NUM_THREADS": "1", "HANDMADE_HOME": str(self.place / "home"),
            "HANDMADE_RUNS": str(self.place / "runs"), **self.environment,
        }  # fmt: skip
        self.talk = (self.place / "said.txt").open("ab")
        self.process = subprocess.Popen(
            command("studio", "--port", "0", *self.words), env=env, cwd=self.place, stdout=subprocess.PIPE, stderr=self.talk,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line.startswith("http"), (self.place / "said.txt").read_text()
        self.url = line.split("?")[0].rstrip("/")
        self.port = int(self.url.rpartition(":")[2])
        self.client = httpx.Client(base_url=self.url, timeout=120, trust_env=False)
        until(lambda: self._answers())

    def _answers(self) -> bool:
        try:
            return bool(self.client.get("/api/glossary").status_code)
        except httpx.TransportError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.client.close()
        self.process.send_signal(number)
        self.process.communicate(timeout=30)
        self.talk.close()

    def get(self, path: str, status: int = 200, **options: Any) -> Any:
        answer = self.client.get(path, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, status: int | None = None) -> Any:
        answer = self.client.post(path, json={} if body is None else body)
        assert answer.status_code in ((status,) if status else (200, 201, 202)), f"{answer.status_code} {answer.text}"
        return answer.json()

    def delete(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.client.request("DELETE", path, json={} if body is None else body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def upload(self, *files: tuple[str, bytes], purpose: str = "ask") -> dict[str, Any]:
        upload = self.post("/api/uploads", {"name": "mine", "for": purpose})["id"]
        for name, content in files:
            answer = self.put(upload, name, content)
            assert answer.status_code == 200, answer.text
        return self.get(f"/api/uploads/{upload}")

    def put(self, upload: str, name: str, content: bytes) -> httpx.Response:
        kind = {"content-type": "application/octet-stream"}
        return self.client.put(f"/api/uploads/{upload}/files", params={"name": name}, content=content, headers=kind)

    def job(self, name: str, *states: str, seconds: float = 90) -> dict[str, Any]:
        """Wait until a job is in one of these states."""

        def there() -> dict[str, Any] | None:
            time.sleep(0.05)
            job = self.get(f"/api/jobs/{name}")
            return job if job["state"] in states else None

        return until(there, seconds)

    def train(self, recipe: str = "toy_gan.smoke", **more: Any) -> dict[str, Any]:
        return self.post("/api/jobs", {"recipe": recipe, **more}, 201)

    def said(self) -> str:
        return (self.place / "said.txt").read_text()


def end_jobs(place: Path) -> None:
    """Kill the trainings that a server has left behind, each by its own number."""
    for path in (place / "home" / "studio" / "jobs").glob("*/job.json"):
        job = json.loads(path.read_text())
        if job["pid"] and job["born"]:
            stat = Path(f"/proc/{job['pid']}/stat")
            if (
                sys.platform == "linux"
                and stat.exists()
                and stat.read_text().rpartition(")")[2].split()[19] == job["born"]
            ):
                os.killpg(job["pid"], signal.SIGKILL)


def memory_of(pid: int) -> int:
    """Bytes that a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
