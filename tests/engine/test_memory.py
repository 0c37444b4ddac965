"""Memory that was freed stays for the next tensor, unless the user has told the C library otherwise."""

import os
import subprocess
import sys

import pytest

CODE = """
import resource, torch
from handmade.engine.memory import keep_freed
keep_freed()
def fill():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(40 << 20, dtype=torch.uint8).fill_(1)  # more than the C library would keep by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(30):
    fill()
print(sum(fill() for _ in range(10)))
"""


def faults(**more: str) -> int:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=clean | more)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no mallopt")
def test_a_large_tensor_takes_the_place_of_the_one_before():
    assert faults() < 1000  # pages; a hundred thousand are filled


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no mallopt")
def test_users_who_set_the_c_library_are_obeyed():
    assert faults(MALLOC_MMAP_THRESHOLD_=str(1 << 20)) > 50_000
