// A small synthesizer: soft plucked tones out of WebAudio's own oscillators, so that a score sounds without any samples.

import type { Note, Score } from "./midi";

const AHEAD = 0.35; // seconds that are scheduled in advance
const SHAPES: OscillatorType[] = ["triangle", "sine", "square", "sawtooth"];
const SHARE: Record<string, number> = { triangle: 1, sine: 1.1, square: 0.28, sawtooth: 0.34 };

export class Player {
  private audio: AudioContext | null = null;
  private out: GainNode | null = null;
  private timer = 0;
  private began = 0; // audio time at which the score's second 0 would have been
  private next = 0; // first note that is not scheduled yet
  private notes: Note[] = [];
  private ended: () => void = () => {};

  get playing(): boolean {
    return this.timer !== 0;
  }

  /** The moment of the score that sounds now, in seconds. */
  get now(): number {
    return this.audio ? Math.max(0, this.audio.currentTime - this.began) : 0;
  }

  /** Play from a moment on; `muted` voices stay silent. */
  async play(score: Score, from: number, muted: Set<number>, ended: () => void): Promise<void> {
    this.stop();
    this.audio ??= new AudioContext();
    await this.audio.resume();
    this.out = this.audio.createGain();
    const quieter = this.audio.createDynamicsCompressor();
    this.out.gain.value = 0.22;
    this.out.connect(quieter).connect(this.audio.destination);
    this.began = this.audio.currentTime + 0.06 - from;
    this.ended = ended;
    this.notes = score.notes.filter((note) => !muted.has(note.voice)).toSorted((a, b) => a.start - b.start);
    this.next = this.notes.findIndex((note) => note.start + note.length > from);
    if (this.next < 0) this.next = this.notes.length;
    const end = score.seconds;
    const tick = () => {
      const until = this.now + AHEAD;
      while (this.next < this.notes.length && this.notes[this.next].start < until) this.sound(this.notes[this.next++]);
      if (this.now > end + 0.4) {
        this.stop();
        this.ended();
      }
    };
    this.timer = window.setInterval(tick, 60);
    tick();
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = 0;
    if (this.out && this.audio) {
      this.out.gain.setTargetAtTime(0, this.audio.currentTime, 0.02);
      const gone = this.out;
      setTimeout(() => gone.disconnect(), 200);
    }
    this.out = null;
  }

  private sound(note: Note): void {
    const audio = this.audio!;
    const at = Math.max(audio.currentTime, this.began + note.start);
    if (note.drum) return this.drum(note, at);
    const voice = audio.createOscillator();
    const shape = SHAPES[note.voice % SHAPES.length];
    const loud = audio.createGain();
    const soft = audio.createBiquadFilter();
    voice.type = shape;
    voice.frequency.value = 440 * 2 ** ((note.pitch - 69) / 12);
    soft.type = "lowpass";
    soft.frequency.value = Math.min(6000, voice.frequency.value * 6);
    const top = note.loud * SHARE[shape];
    const until = at + Math.max(0.08, note.length);
    loud.gain.setValueAtTime(0, at);
    loud.gain.linearRampToValueAtTime(top, at + 0.012);
    loud.gain.setTargetAtTime(top * 0.45, at + 0.012, 0.35); // like a string: loud at first, then it rings on
    loud.gain.setTargetAtTime(0, until, 0.06);
    voice.connect(soft).connect(loud).connect(this.out!);
    voice.start(at);
    voice.stop(until + 0.4);
  }

  private drum(note: Note, at: number): void {
    const audio = this.audio!;
    const loud = audio.createGain();
    const kick = note.pitch <= 36;
    loud.gain.setValueAtTime(note.loud * (kick ? 1 : 0.35), at);
    loud.gain.exponentialRampToValueAtTime(0.001, at + (kick ? 0.22 : 0.09));
    if (kick) {
      const thud = audio.createOscillator();
      thud.frequency.setValueAtTime(130, at);
      thud.frequency.exponentialRampToValueAtTime(42, at + 0.18);
      thud.connect(loud).connect(this.out!);
      thud.start(at);
      thud.stop(at + 0.25);
    } else {
      const hiss = audio.createBufferSource();
      const buffer = audio.createBuffer(1, Math.round(audio.sampleRate * 0.1), audio.sampleRate);
      const samples = buffer.getChannelData(0);
      for (let i = 0; i < samples.length; i++) samples[i] = Math.random() * 2 - 1;
      hiss.buffer = buffer;
      hiss.connect(loud).connect(this.out!);
      hiss.start(at);
    }
  }
}
