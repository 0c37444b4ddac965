// A run as it is and as it grows: curves, samples and scores, fed by the events of its own log.

import { api, sentence, type Curve, type Moment, type RawEvent, type RunPage, type Score } from "./api";
import { live } from "./live.svelte";

export class Watched {
  page = $state.raw<RunPage | null>(null);
  losses = $state.raw<Record<string, Curve>>({});
  told = $state.raw<Record<string, Curve>>({}); // what else the turns told
  curves = $state.raw<RunPage["score_curves"]>({});
  samples = $state.raw<Moment[]>([]);
  scores = $state.raw<Record<string, Score>>({});
  step = $state(0);
  seconds = $state(0);
  fault = $state("");
  missing = $state(false); // the folder is not there (yet)
  private leave: () => void = () => {};
  private over = false;

  /** `awaited`: its folder is not there yet; whoever looks on fetches it when it is. */
  constructor(readonly id: string, awaited: boolean) {
    if (awaited) this.missing = true;
    else void this.fetch();
  }

  async fetch(): Promise<void> {
    try {
      const page = await api.run(this.id);
      if (this.over) return;
      this.leave();
      this.page = page;
      this.losses = page.losses;
      this.told = page.log;
      this.curves = page.score_curves;
      this.samples = page.samples;
      this.scores = page.scores;
      this.step = page.step;
      this.seconds = page.seconds;
      this.fault = "";
      this.missing = false;
      this.leave = live.follow(this.id, page.cursor, (news) => (news.reset ? void this.fetch() : this.hear(news.events)));
    } catch (error) {
      this.missing = error instanceof Error && "status" in error && error.status === 404;
      this.fault = sentence(error);
    }
  }

  end(): void {
    this.over = true;
    this.leave();
  }

  private hear(events: RawEvent[]): void {
    const losses = { ...this.losses };
    const told = { ...this.told };
    for (const event of events) {
      const { step, seconds } = event;
      if (typeof step !== "number" || typeof seconds !== "number") continue;
      if (event.kind === "step") {
        add(losses, event.losses, step, seconds);
        add(told, event.log, step, seconds);
      } else if (event.kind === "score") this.score(event.scores as Record<string, Score>, step, seconds);
      else if (event.kind === "sample") this.sample(String(event.path), step, seconds);
      else if (event.kind === "end") void this.fetch(); // the card, the films and the remarks are new
      this.step = Math.max(this.step, step);
      this.seconds = Math.max(this.seconds, seconds);
    }
    this.losses = losses;
    this.told = told;
  }

  private score(scores: Record<string, Score>, step: number, seconds: number): void {
    const curves = { ...this.curves };
    for (const [name, score] of Object.entries(scores)) {
      const before = (curves[name] ?? []).filter((point) => point.step < step);
      curves[name] = [...before, { step, seconds, value: score.value, low: score.low, high: score.high, floor: score.floor }];
    }
    this.curves = curves;
    this.scores = scores;
    api.run(this.id).then((page) => (this.page = page), () => {}); // for the doctor's remarks; the next score asks again
  }

  private sample(path: string, step: number, seconds: number): void {
    const id = /samples\/(\d+)\//.exec(path)?.[1] ?? String(step).padStart(6, "0");
    const known = this.samples.at(-1);
    const moment = { id, step, seconds, picture: `/api/runs/${encodeURIComponent(this.id)}/samples/${id}/sheet.png`, sample: known?.sample ?? true };
    this.samples = [...this.samples.filter((other) => other.step < step), moment];
  }
}

/** New values at the end of their curves; what was told before of the same steps is replaced. */
function add(curves: Record<string, Curve>, values: unknown, step: number, seconds: number): void {
  for (const [name, value] of Object.entries((values ?? {}) as Record<string, unknown>)) {
    if (typeof value !== "number" || !Number.isFinite(value)) continue;
    const before = curves[name] ?? [];
    curves[name] = [...(before.at(-1)?.[0] ?? -1) < step ? before : before.filter((point) => point[0] < step), [step, seconds, value]];
  }
}
