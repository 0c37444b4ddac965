// One desk at which a run is asked: the form's values, the answer as it comes, and what was asked before.

import { api, eventsOf, sentence, type Arguments, type Ask, type Result, type Token } from "../lib/api";
import type { Piece } from "./Writing.svelte";

export class Asking {
  result = $state.raw<Result | null>(null);
  pieces = $state.raw<Piece[]>([]); // of a text that is being written
  prompt = $state("");
  busy = $state(false);
  fault = $state("");
  private stopper: AbortController | null = null;

  constructor(readonly run: string) {}

  /** Ask; a question that is still being answered is given up. */
  async ask(form: Ask, given: Arguments): Promise<Result | null> {
    this.stop();
    const stopper = new AbortController();
    this.stopper = stopper;
    this.busy = true;
    this.fault = "";
    this.pieces = [];
    this.prompt = String(given.prompt ?? "");
    try {
      const result = form.streams ? await this.hear(form.name, given, stopper.signal) : await api.ask(this.run, form.name, given, stopper.signal);
      if (this.stopper === stopper && result) this.result = result;
      return result;
    } catch (error) {
      if (this.stopper === stopper && !stopper.signal.aborted) this.fault = sentence(error);
      return null;
    } finally {
      if (this.stopper === stopper) {
        this.busy = false;
        this.stopper = null;
      }
    }
  }

  stop(): void {
    this.stopper?.abort();
    this.stopper = null;
    this.busy = false;
  }

  private async hear(name: string, given: Arguments, signal: AbortSignal): Promise<Result | null> {
    const answer = await api.stream(this.run, name, given, signal);
    for await (const { event, data } of eventsOf(answer)) {
      if (signal.aborted) return null;
      if (event === "text") this.add(data as { text: string; given: boolean; tokens: Token[] });
      else if (event === "result") return data as Result;
      else if (event === "error") throw new Error((data as { detail: string }).detail);
    }
    return null;
  }

  private add({ text, given, tokens }: { text: string; given: boolean; tokens: Token[] }): void {
    if (given) return; // the system repeats what it was given
    const whole = tokens.length > 1 && tokens.every((token) => typeof token.text === "string");
    const next = whole ? tokens.map((token) => ({ text: token.text!, told: token })) : [{ text, told: tokens.at(-1) ?? null }];
    this.pieces = [...this.pieces, ...next];
  }
}

/** An ask's values before anybody has touched them. */
export function fresh(form: Ask): Arguments {
  return Object.fromEntries(form.parameters.map((parameter) => [parameter.name, parameter.default]));
}

/** What is sent: files that were left out are not named. */
export function sent(form: Ask, values: Arguments): Arguments {
  return Object.fromEntries(form.parameters.filter((p) => values[p.name] !== null && values[p.name] !== undefined).map((p) => [p.name, values[p.name]]));
}
