// What changes on the server, in one stream for the whole page: jobs, runs that are watched, cards, estimates.

import { api, type Card, type Estimate, type Job, type RawEvent } from "./api";

type Follower = (news: { events: RawEvent[]; cursor: string; reset: boolean }) => void;

class Live {
  jobs = $state.raw<Job[]>([]);
  cards = $state.raw<Record<string, Card>>({});
  estimates = $state.raw<Record<string, Estimate>>({});
  changes = $state(0); // grows whenever the list of runs changed
  connected = $state(true);
  private source: EventSource | null = null;
  private followed = new Map<string, { cursor: string; follower: Follower }>();

  start(): void {
    if (!this.source) this.connect();
  }

  /** The job that trains now, if any. */
  get running(): Job | undefined {
    return this.jobs.find((job) => ["starting", "running", "stopping"].includes(job.state));
  }

  /** Hear of a run's events from `cursor` on; returns how to stop. */
  follow(run: string, cursor: string, follower: Follower): () => void {
    this.followed.set(run, { cursor, follower });
    this.connect();
    return () => {
      this.followed.delete(run);
    };
  }

  /** Put a job that an order has just changed into the list without waiting for the stream. */
  put(job: Job): void {
    const known = this.jobs.some((other) => other.id === job.id);
    this.jobs = known ? this.jobs.map((other) => (other.id === job.id ? job : other)) : [job, ...this.jobs];
  }

  forget(id: string): void {
    this.jobs = this.jobs.filter((job) => job.id !== id);
  }

  private connect(): void {
    this.source?.close();
    const query = [...this.followed].flatMap(([run, { cursor }]) => [
      `run=${encodeURIComponent(run)}`,
      `cursor=${encodeURIComponent(`${run}~${cursor}`)}`,
    ]);
    const source = new EventSource(`/api/events${query.length ? `?${query.join("&")}` : ""}`);
    this.source = source;
    const on = <T>(name: string, hear: (data: T) => void) =>
      source.addEventListener(name, (event) => hear(JSON.parse((event as MessageEvent<string>).data) as T));
    source.addEventListener("open", () => (this.connected = true));
    source.addEventListener("error", () => {
      this.connected = false;
      if (source.readyState === EventSource.CLOSED && this.source === source) setTimeout(() => this.source === source && this.connect(), 3000);
    });
    on<{ jobs: Job[] }>("hello", ({ jobs }) => (this.jobs = jobs));
    on<Job>("job", (job) => this.put(job));
    on<{ system: string; card: Card }>("card", ({ system, card }) => (this.cards = { ...this.cards, [system]: card }));
    on<Estimate>("estimate", (estimate) => (this.estimates = { ...this.estimates, [estimate.id]: estimate }));
    on<unknown>("runs", () => (this.changes += 1));
    on<{ run: string; events: RawEvent[]; cursor: string; reset: boolean }>("run", (news) => {
      const heard = this.followed.get(news.run);
      if (!heard) return;
      heard.cursor = news.cursor;
      heard.follower(news);
    });
  }
}

export const live = new Live();

/** Give an order to a job; its new state shows at once. */
export async function order(job: Job, what: Parameters<typeof api.order>[1], body?: unknown): Promise<void> {
  live.put(await api.order(job.id, what, body));
}
