// What the server sends and takes, as src/handmade/studio/README.md describes it.

export interface Setting {
  name: string;
  kind: "int" | "float" | "bool" | "str" | "choice" | "other";
  default: string;
  value: unknown;
  help: string;
  choices: string[];
  low: number | null;
  high: number | null;
}
export interface Sample {
  kind: string;
  [field: string]: unknown;
}
export interface Card {
  run: string;
  picture: string | null;
  sample: Sample | null;
  state: "ready" | "making" | "none";
}
export interface Recipe {
  id: string;
  name: string;
  about: string;
  data: Record<string, unknown>;
  data_kind: string;
  takes_files: boolean;
  expect: Record<string, unknown> | null;
  gpu: boolean;
}
export interface RecipeForm extends Recipe {
  config: Setting[];
  train: Setting[];
  data_options: Setting[];
}
export interface System {
  id: string;
  title: string;
  makes: string;
  story: string;
  paper: string | null;
  asks: { name: string; summary: string }[];
  recipes: Recipe[];
  zoo: string[];
  runs: string[];
  card: Card | null;
}
export interface Objective {
  words: string[];
  file: string;
  first: number;
  lines: string[];
}
export interface SystemPage extends System {
  readme: string;
  objective: Objective | null;
  modules: { file: string; about: string; lines: number }[];
  settings: Setting[];
  links: { paper: string | null };
}
export interface Network {
  name: string;
  kind: string;
  parameters: number;
  trained: boolean;
  in: string | null;
  out: string | null;
  layers: { name: string; depth: number; kind: string; about: string; parameters: number; in: string | null; out: string | null }[];
}
export interface Networks {
  run: string | null;
  players: Record<string, string[]>;
  networks: Network[];
  parameters: number;
}
export interface Step {
  run: string | null;
  step: number;
  seconds: number;
  batch: string;
  turns: {
    player: string;
    loss: number;
    log: Record<string, number>;
    line: number | null;
    file: string | null;
    gradients: Record<string, number>;
    gradient: number;
    moved: Record<string, number>;
    parameters: number;
  }[];
}
export interface Estimate {
  id: string;
  state: "ready" | "measuring" | "failed";
  source: string;
  words: string;
  steps: number;
  minutes: number | null;
  seconds_per_step: number | null;
  memory_mb: number | null;
  disk_mb: number | null;
  free_memory_mb: number;
  free_disk_mb: number;
  fits: boolean;
  warnings: string[];
  error: string | null;
}
export interface Source {
  name: string;
  title: string;
  licence: string;
  homepage: string;
  note: string;
  kind: string;
  needs_fetching: boolean;
}
export interface Folder {
  id: string;
  name: string;
  pictures: number;
  texts: number;
  tables: number;
  archives: number;
  others: number;
  more: boolean;
  kind: string | null;
}
export interface UploadedFile {
  id: string;
  name: string;
  bytes: number;
  kind: string;
  width: number | null;
  height: number | null;
}
export interface Upload {
  id: string;
  name: string;
  files: UploadedFile[];
  count: number;
  bytes: number;
  kind: string | null;
  created: number;
}
export type Data = { upload: string } | { folder: string };
export interface Job {
  id: string;
  kind: "train" | "prepare" | "evaluate";
  title: string;
  system: string | null;
  recipe: string | null;
  run: string | null;
  state: "waiting" | "starting" | "running" | "stopping" | "paused" | "stopped" | "done" | "failed" | "interrupted" | "cancelled";
  place: number | null;
  created: number;
  started: number | null;
  ended: number | null;
  minutes: number | null;
  step: number;
  steps: number;
  seconds: number;
  left: number | null;
  rate: number | null;
  losses: Record<string, number>;
  score: { name: string; value: number; floor: number | null } | null;
  words: string;
  error: string | null;
  log: string[];
}
export interface Score {
  value: number;
  floor: number | null;
  low: number | null;
  high: number | null;
  better: "lower" | "higher";
  about: string;
}
export interface Run {
  id: string;
  name: string;
  system: string;
  recipe: string;
  title: string;
  makes: string;
  shipped: boolean;
  usable: boolean;
  resumable: boolean;
  step: number;
  steps: number;
  seconds: number;
  created: number;
  state: "training" | "ready" | "empty";
  job: string | null;
  scores: Record<string, Score>;
  yardstick: string | null;
  picture: string | null;
  faults: string[];
}
export type Curve = [number, number, number][]; // step, seconds, value
export interface RunPage extends Run {
  about: string;
  settings: { data: Record<string, unknown>; config: Record<string, unknown>; train: Record<string, unknown> };
  spec: { kind?: string; labels?: Record<string, string[]>; [field: string]: unknown };
  machine: Record<string, unknown>;
  preview: Record<string, unknown>;
  losses: Record<string, Curve>;
  log: Record<string, Curve>;
  score_curves: Record<string, { step: number; seconds: number; value: number; low: number | null; high: number | null; floor: number | null }[]>;
  samples: Moment[];
  checkpoints: number[];
  notes: string[];
  remarks: { level: "good" | "note" | "warn"; text: string }[];
  card: string;
  cursor: string;
  films: { name: string; url: string }[];
}
export interface Moment {
  id: string;
  step: number;
  seconds: number;
  picture: string;
  sample: boolean;
}
export interface Parameter {
  name: string;
  kind: "int" | "float" | "bool" | "str" | "file";
  default: unknown;
  required: boolean;
  help: string;
  choices: (string | number)[];
  low: number | null;
  high: number | null;
}
export interface Ask {
  name: string;
  summary: string;
  streams: boolean;
  parameters: Parameter[];
}
export interface Asks {
  run: string;
  step: number;
  text: boolean;
  asks: Ask[];
}
export type FileRef = { upload: string; file: string | null } | { result: string; file: string };
export type Arguments = Record<string, unknown>;
export interface ResultFile {
  id: string;
  name: string;
  type: string;
  bytes: number;
  item: number | null;
  url: string;
}
export interface Result {
  id: string;
  run: string;
  system: string;
  ask: string;
  arguments: Arguments;
  created: number;
  seconds: number;
  kind: string;
  words: string;
  sample: Sample | null;
  fields: Record<string, unknown>;
  files: ResultFile[];
  sheet: string;
  kept: boolean;
  origin: Record<string, unknown> | null;
}
export interface Token {
  p: number;
  candidates: [string, number][];
  text?: string;
}
export interface Metric {
  name: string;
  about: string;
  better: "lower" | "higher";
  values: Record<string, { value: number; floor: number | null; low: number | null; high: number | null }>;
}
export interface Comparison {
  runs: RunPage[];
  metrics: Metric[];
  same_data: boolean;
}
export interface RawEvent {
  kind: string;
  step?: number;
  seconds?: number;
  [field: string]: unknown;
}
