// Something the server is asked for: its value, whether it is on its way, and what went wrong.

import { sentence } from "./api";

export class Load<T> {
  value = $state.raw<T | null>(null);
  fault = $state("");
  busy = $state(false);
  private turn = 0;

  /** Ask; of several questions only the last one's answer counts. The old value stays until the new one is there. */
  async from(promise: Promise<T>): Promise<T | null> {
    const turn = ++this.turn;
    this.busy = true;
    this.fault = "";
    try {
      const value = await promise;
      if (turn !== this.turn) return null;
      this.value = value;
      return value;
    } catch (error) {
      if (turn === this.turn) this.fault = sentence(error);
      return null;
    } finally {
      if (turn === this.turn) this.busy = false;
    }
  }
}
