// Notes with times in seconds, out of a Standard MIDI File (formats 0 and 1) or of the notes that a run keeps as its sample.

import type { Sample } from "./api";

export interface Note {
  start: number; // seconds
  length: number; // seconds
  pitch: number; // 0..127, 60 is middle C
  loud: number; // 0..1
  voice: number; // which track and channel, counted from 0 in order of appearance
  drum: boolean; // channel 10 plays drums
}

export interface Score {
  notes: Note[];
  seconds: number;
  voices: number;
  names: string[]; // of the voices, where they have any
  bar: number; // seconds of a bar; 0: not known
}

/** The notes of a sample: start, length, pitch, velocity and track of each. */
export function fromSample(sample: Sample): Score {
  const notes = ((sample.notes as number[][] | undefined) ?? []).map(([start, length, pitch, velocity, voice]) => ({
    start, length, pitch, loud: velocity / 127, voice, drum: false,
  }));
  const names = (sample.tracks as string[] | undefined) ?? [];
  const seconds = Math.max(0, ...notes.map((note) => note.start + note.length));
  return { notes, seconds, voices: new Set(notes.map((note) => note.voice)).size, names, bar: Number(sample.bar) || 0 };
}

interface Event {
  tick: number;
  on?: { pitch: number; loud: number; line: number; drum: boolean };
  off?: { pitch: number; line: number };
  tempo?: number; // microseconds a quarter
}

type Names = Map<number, string>; // of tracks

const LONGEST = 2_000_000; // bytes

export function readMidi(buffer: ArrayBuffer): Score {
  const data = new DataView(buffer);
  if (buffer.byteLength > LONGEST || buffer.byteLength < 22 || data.getUint32(0) !== 0x4d546864) {
    throw new Error("This is not a MIDI file that the page can read.");
  }
  const division = data.getUint16(12);
  const events: Event[] = [];
  const names: Names = new Map();
  let at = 8 + data.getUint32(4);
  for (let track = 0; at + 8 <= buffer.byteLength; track++) {
    const length = data.getUint32(at + 4);
    const end = Math.min(buffer.byteLength, at + 8 + length);
    if (data.getUint32(at) === 0x4d54726b) readTrack(new DataView(buffer, at + 8, end - at - 8), track, events, names);
    at = end;
  }
  return timed(events, division & 0x8000 ? 480 : division, names);
}

function readTrack(data: DataView, track: number, events: Event[], names: Names): void {
  let at = 0;
  let tick = 0;
  let status = 0;
  const size = data.byteLength;
  const varying = (): number => {
    let value = 0;
    for (let i = 0; i < 4 && at < size; i++) {
      const byte = data.getUint8(at++);
      value = (value << 7) | (byte & 0x7f);
      if (byte < 0x80) break;
    }
    return value;
  };
  while (at < size) {
    tick += varying();
    if (at >= size) break;
    if (data.getUint8(at) & 0x80) status = data.getUint8(at++);
    const kind = status & 0xf0;
    if (status === 0xff) {
      const meta = at < size ? data.getUint8(at++) : 0x2f;
      const length = varying();
      if (meta === 0x51 && length === 3 && at + 3 <= size) {
        events.push({ tick, tempo: (data.getUint8(at) << 16) | data.getUint16(at + 1) });
      }
      if (meta === 0x03 && at + length <= size) names.set(track, new TextDecoder().decode(new Uint8Array(data.buffer, data.byteOffset + at, Math.min(length, 40))));
      at += length;
      if (meta === 0x2f) break;
    } else if (kind === 0xf0) {
      at += varying();
    } else {
      const first = at < size ? data.getUint8(at++) : 0;
      const second = kind === 0xc0 || kind === 0xd0 || at >= size ? 0 : data.getUint8(at++);
      const channel = status & 0x0f;
      const line = track * 16 + channel;
      if (kind === 0x90 && second > 0) events.push({ tick, on: { pitch: first, loud: second / 127, line, drum: channel === 9 } });
      else if (kind === 0x80 || kind === 0x90) events.push({ tick, off: { pitch: first, line } });
    }
  }
}

/** Ticks to seconds under the changing tempo, and every note-on with its note-off. */
function timed(events: Event[], division: number, names: Names): Score {
  const order = (event: Event) => (event.tempo ? 0 : event.off ? 1 : 2);
  events.sort((a, b) => a.tick - b.tick || order(a) - order(b));
  const notes: Note[] = [];
  const sounding = new Map<string, Note[]>();
  const lines = new Map<number, number>();
  let seconds = 0;
  let before = 0;
  let quarter = 0.5;
  for (const event of events) {
    seconds += ((event.tick - before) / division) * quarter;
    before = event.tick;
    if (event.tempo) quarter = event.tempo / 1e6;
    if (event.on) {
      const { pitch, loud, line, drum } = event.on;
      if (!lines.has(line)) lines.set(line, lines.size);
      const note: Note = { start: seconds, length: 0, pitch, loud, voice: lines.get(line)!, drum };
      notes.push(note);
      const key = `${line} ${pitch}`;
      sounding.set(key, [...(sounding.get(key) ?? []), note]);
    } else if (event.off) {
      const note = sounding.get(`${event.off.line} ${event.off.pitch}`)?.shift();
      if (note) note.length = seconds - note.start;
    }
  }
  for (const note of notes) if (!note.length) note.length = Math.max(0.05, Math.min(1, seconds - note.start));
  const voices = [...lines.keys()].map((line, voice) => names.get(Math.floor(line / 16)) || `Voice ${voice + 1}`);
  return { notes, seconds: Math.max(seconds, ...notes.map((note) => note.start + note.length), 0), voices: lines.size, names: voices, bar: 0 };
}
