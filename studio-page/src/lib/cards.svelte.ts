// What the gallery shows of each system, also where a single run is shown that keeps no samples of its own.

import { api, type Card, type System } from "./api";
import { live } from "./live.svelte";

class Cards {
  private systems = $state.raw<System[]>([]);
  private asked = false;

  of(run: string): Card | null {
    if (!this.asked) {
      this.asked = true;
      api.systems().then((systems) => (this.systems = systems), () => (this.asked = false));
    }
    const card = this.systems.map((system) => live.cards[system.id] ?? system.card).find((card) => card?.run === run);
    return card?.state === "ready" ? card : null;
  }
}

export const cards = new Cards();
