"""`python -m benchmarks [NAME ...]`: run benchmarks one after the other and write benchmarks/results/NAME.json.

quick ones (about 30 minutes together): start_up step_time overhead busy demo words_step words_generation pictures_speed
    music_sound studio_load pages
slow ones (hours): bf16_quality time_to_quality zoo_quality words_time_to_loss handles_conditional handles_cyclegan handles_vae
    pictures_quality pictures_video music_models
on a machine with a GPU: gpu_step
"""

from __future__ import annotations

import argparse
import importlib

from benchmarks.record import write_readme

QUICK = ("start_up", "step_time", "overhead", "busy", "demo", "words_step", "words_generation",
         "pictures_speed", "music_sound", "studio_load", "pages")  # fmt: skip
SLOW = ("bf16_quality", "time_to_quality", "zoo_quality", "words_time_to_loss", "handles_conditional", "handles_cyclegan",
        "handles_vae", "pictures_quality", "pictures_video", "music_models")  # fmt: skip

ON_A_GPU = ("gpu_step",)


def main() -> None:
    """Run what is named, or everything quick."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(QUICK + SLOW + ON_A_GPU)}; left out: the quick ones")
    parser.add_argument("--all", action="store_true", help="the slow ones too")
    wanted = parser.parse_args()
    for name in wanted.names or (QUICK + SLOW if wanted.all else QUICK):
        print(f"== {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()
    write_readme()


if __name__ == "__main__":
    main()
