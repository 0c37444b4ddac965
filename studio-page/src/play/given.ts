// Files among an ask's arguments.

import type { Ask, FileRef, Parameter, ResultFile } from "../lib/api";

export function isFile(value: unknown): value is FileRef {
  return typeof value === "object" && value !== null && ("upload" in value || "result" in value);
}

/** Where a given file can be looked at; nothing for other values and for whole uploads. */
export function addressOf(value: unknown): string {
  if (!isFile(value)) return "";
  const e = encodeURIComponent;
  if ("result" in value) return `/api/results/${e(value.result)}/files/${e(value.file)}`;
  return value.file ? `/api/uploads/${e(value.upload)}/files/${e(value.file)}` : "";
}

const WORDS: [RegExp, RegExp][] = [
  [/^image\//, /picture|image|photo/i],
  [/midi/, /midi|score|music/i],
  [/^audio\//, /sound|audio|voice|speech|recording/i],
  [/^text\//, /text|sentence/i],
];

/** The setting of an ask that this file could be given to, judged by what its line of help speaks of. */
export function taker(ask: Ask, file: ResultFile): Parameter | undefined {
  const words = WORDS.find(([type]) => type.test(file.type))?.[1];
  return words && ask.parameters.find((p) => p.kind === "file" && p.name !== "mask" && words.test(`${p.name} ${p.help}`));
}
