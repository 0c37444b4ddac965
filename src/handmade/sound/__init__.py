"""Sound without an orchestra: a synthesizer of sines, the files that sound is kept in, and the user's own soundfonts."""

from handmade.sound.files import SOUNDS, sound_bytes, wav_bytes
from handmade.sound.instruments import INSTRUMENTS, hertz
from handmade.sound.soundfont import render_soundfont
from handmade.sound.synthesizer import RATE, render

__all__ = ["INSTRUMENTS", "RATE", "SOUNDS", "hertz", "render", "render_soundfont", "sound_bytes", "wav_bytes"]
