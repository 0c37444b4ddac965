"""`doctor`: what this machine is, and whether everything needed is here. Loads no torch."""

from __future__ import annotations

import json
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path

from handmade.cli.main import Parser
from handmade.registry import room_folders, rooms, store, zoo

NEEDED = ("torch", "numpy", "pillow", "safetensors", "pydantic", "dicebear-core", "dicebear-styles", "resvg-py")
OPTIONAL = {"pyarrow": "parquet files of pictures", "av": "MP4 films"}


def doctor_(parser: Parser, arguments: list[str]) -> int:
    """Print the machine report; exit 1 where something needed is missing."""
    parser.add_argument("--json", action="store_true", help="one JSON document")
    wanted = parser.parse_args(arguments)
    report = examine()
    missing = [name for name, version in report["packages"].items() if version is None and name in NEEDED]
    if wanted.json:
        print(json.dumps(report, indent=1))
        return 1 if missing else 0
    print(
        f"{report['processor']}, {report['cores']} cores, {report['memory_gb']:.0f} GB, {report['free_disk_gb']:.0f} GB free"
    )
    print(f"Python {report['python']} on {report['system']}; bf16 on this processor: {report['bf16']}")
    for name, version in report["packages"].items():
        use = f"not installed ({OPTIONAL[name]})" if name in OPTIONAL else "MISSING: `pip install handmade` again"
        print(f"  {name:<18} {version or use}")
    print(f"waiting threads: {report['waiting']}; rooms: {report['rooms']}; shipped runs: {report['zoo']}")
    print(f"your own rooms are looked for in {', '.join(report['room_folders'][1:])}")
    return 1 if missing else 0


def examine() -> dict:
    """Collect the report."""
    flags = _line("/proc/cpuinfo", "flags").split()
    memory = _line("/proc/meminfo", "MemTotal").split()
    return {
        "processor": _line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": int(memory[0]) / 1e6 if memory else float("nan"),
        "free_disk_gb": shutil.disk_usage(Path.cwd()).free / 1e9,
        "bf16": "fast (AMX)" if "amx_bf16" in flags else "yes" if "avx512_bf16" in flags else "not in hardware",
        "gpu": Path("/proc/driver/nvidia/version").exists(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "packages": {name: _version(name) for name in (*NEEDED, *OPTIONAL)},
        "waiting": os.environ.get("OMP_WAIT_POLICY", "spinning"),
        "rooms": len(rooms()),
        "zoo": len(zoo()),
        "room_folders": [str(folder) for folder in room_folders()],
        "store": str(store()),
    }


def _line(path: str, key: str) -> str:
    """The value of the first `key : value` line of a file in /proc; empty where there is none."""
    try:
        with open(path, encoding="utf-8") as lines:
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
    except OSError:
        return ""


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
