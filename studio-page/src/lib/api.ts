// The server's routes: everything the page knows comes from here.

import type {
  Sample, RecipeForm, System, SystemPage, Networks, Step, Estimate, Source, Folder, UploadedFile, Upload, Data,
  Job, Run, RunPage, Asks, Arguments, Result, Comparison,
} from "./shapes";

export type * from "./shapes";

/** A refusal or fault, in the server's own plain words. */
export class Refused extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

const SILENT = "The studio's server does not answer. Is `handmade studio` still running?";

async function call(path: string, options: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refused(SILENT, 0);
  }
  if (!answer.ok) throw new Refused(await told(answer), answer.status);
  return answer;
}

async function told(answer: Response): Promise<string> {
  try {
    const { detail } = await answer.json();
    if (typeof detail === "string") return detail.slice(0, 1).toUpperCase() + detail.slice(1);
  } catch {
    // not JSON: a proxy or a crash; the status alone is told
  }
  return `The server answered with an error (${answer.status}).`;
}

async function get<T>(path: string): Promise<T> {
  return (await call(path)).json();
}

function posting(body: unknown, signal?: AbortSignal): RequestInit {
  return { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}), signal };
}

async function post<T>(path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  return (await call(path, posting(body, signal))).json();
}

async function remove(path: string, body?: unknown): Promise<void> {
  await call(path, { ...posting(body), method: "DELETE" });
}

const e = encodeURIComponent;
const many = (name: string, ids: string[]) => ids.map((id) => `${name}=${e(id)}`).join("&");

export const api = {
  systems: async () => (await get<{ systems: System[] }>("/api/systems")).systems,
  system: (id: string) => get<SystemPage>(`/api/systems/${e(id)}`),
  networks: (id: string, run?: string) => get<Networks>(`/api/systems/${e(id)}/networks${run ? `?run=${e(run)}` : ""}`),
  source: async (id: string, file: string) => (await get<{ lines: string[] }>(`/api/systems/${e(id)}/source/${e(file)}`)).lines,
  step: (id: string, again: boolean) => post<Step>(`/api/systems/${e(id)}/step`, { run: null, again }),
  recipe: (id: string) => get<RecipeForm>(`/api/recipes/${e(id)}`),
  estimate: (wish: { recipe: string; overrides: Record<string, string>; data: Data | null; minutes: number | null }) =>
    post<Estimate>("/api/estimates", wish),
  estimated: (id: string) => get<Estimate>(`/api/estimates/${e(id)}`),
  sources: async () => (await get<{ sources: Source[] }>("/api/data")).sources,
  roots: async () => (await get<{ folders: Folder[] }>("/api/folders")).folders,
  folder: (id: string) => get<{ folder: Folder; parents: Folder[]; folders: Folder[] }>(`/api/folders/${e(id)}`),
  upload: (name: string, use: "data" | "ask") => post<Upload>("/api/uploads", { name, for: use }),
  uploaded: (id: string) => get<Upload>(`/api/uploads/${e(id)}`),
  put: async (id: string, file: File, name: string) =>
    (
      (await (
        await call(`/api/uploads/${e(id)}/files?name=${e(name)}`, {
          method: "PUT",
          headers: { "content-type": "application/octet-stream" },
          body: file,
        })
      ).json()) as { refused: string[] } // of a .zip: a line for each file that was left out
    ).refused,
  forgetUpload: (id: string) => remove(`/api/uploads/${e(id)}`),
  jobs: async () => (await get<{ jobs: Job[] }>("/api/jobs")).jobs,
  start: (wish: { recipe: string; minutes: number | null; overrides: Record<string, string>; data: Data | null; start?: string | null; name?: string | null }) =>
    post<Job>("/api/jobs", wish),
  goOn: (run: string, minutes: number | null) => post<Job>("/api/jobs", { resume: run, minutes, overrides: {}, data: null }),
  order: (id: string, what: "pause" | "stop" | "resume" | "cancel" | "first", body?: unknown) => post<Job>(`/api/jobs/${e(id)}/${what}`, body),
  forgetJob: (id: string) => remove(`/api/jobs/${e(id)}`),
  runs: async (system?: string) => (await get<{ runs: Run[] }>(`/api/runs${system ? `?system=${e(system)}` : ""}`)).runs,
  run: (id: string) => get<RunPage>(`/api/runs/${e(id)}`),
  sample: (run: string, step: string) => get<Sample>(`/api/runs/${e(run)}/samples/${e(step)}/sample.json`),
  evaluate: (run: string) => post<Job>(`/api/runs/${e(run)}/evaluate`),
  trash: (run: Run) => remove(`/api/runs/${e(run.id)}`, { name: run.name }),
  compare: (runs: string[]) => get<Comparison>(`/api/compare?${many("runs", runs)}`),
  asks: (run: string) => get<Asks>(`/api/runs/${e(run)}/asks`),
  warm: (run: string) => post<unknown>(`/api/runs/${e(run)}/warm`),
  ask: (run: string, ask: string, given: Arguments, signal?: AbortSignal) =>
    post<Result>(`/api/runs/${e(run)}/asks/${e(ask)}`, { arguments: given, at: null }, signal),
  stream: (run: string, ask: string, given: Arguments, signal: AbortSignal) =>
    call(`/api/runs/${e(run)}/asks/${e(ask)}/stream`, posting({ arguments: given, at: null }, signal)),
  results: async (run?: string) => (await get<{ results: Result[] }>(`/api/results${run ? `?run=${e(run)}` : ""}`)).results,
  result: (id: string) => get<Result>(`/api/results/${e(id)}`),
  keep: (id: string, kept: boolean) => post<unknown>(`/api/results/${e(id)}/keep`, { kept }),
  recreate: (id: string) => post<{ same: boolean; words: string }>(`/api/results/${e(id)}/recreate`),
  recreateFile: (upload: string, file: string) =>
    post<{ same: boolean; words: string; origin: Record<string, unknown> | null }>(`/api/uploads/${e(upload)}/files/${e(file)}/recreate`),
  forgetResult: (id: string) => remove(`/api/results/${e(id)}`),
  machine: () => get<Record<string, unknown> & { version?: string }>("/api/machine"),
  glossary: async () => (await get<{ terms: Record<string, string> }>("/api/glossary")).terms,
};

/** The sentence to show for anything that was thrown. */
export function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Server-sent events out of a POST's answer, which EventSource cannot do. */
export async function* eventsOf(answer: Response): AsyncGenerator<{ event: string; data: unknown }> {
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value.replaceAll("\r\n", "\n");
    for (let cut = rest.indexOf("\n\n"); cut >= 0; cut = rest.indexOf("\n\n")) {
      const lines = rest.slice(0, cut).split("\n");
      rest = rest.slice(cut + 2);
      const event = lines.find((line) => line.startsWith("event:"))?.slice(6).trim() ?? "message";
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data) yield { event, data: JSON.parse(data) };
    }
  }
}
