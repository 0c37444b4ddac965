// One socket for handles that are moved: the newest wish is answered with a picture, older ones are passed over.

import type { Arguments, Sample } from "./api";

export interface Frame {
  kind: string;
  sample: Sample | null;
  fields: Record<string, unknown>;
  picture: ImageBitmap | null;
}
interface Header {
  id: number;
  ok: boolean;
  detail?: string;
  kind: string;
  sample: Sample | null;
  fields: Record<string, unknown>;
}

export class Handles {
  frame = $state.raw<Frame | null>(null);
  fault = $state("");
  took = $state<number | null>(null); // milliseconds from wish to picture
  private socket: WebSocket | null = null;
  private waiting: string | null = null; // said as soon as the socket is open
  private sent = new Map<number, number>();
  private last = 0;
  private shown = 0;

  wish(run: string, ask: string, given: Arguments): void {
    const id = ++this.last;
    this.sent.set(id, performance.now());
    const text = JSON.stringify({ id, channel: "handles", run, ask, arguments: given, at: null });
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(text);
    else {
      this.waiting = text;
      this.open();
    }
  }

  close(): void {
    this.waiting = null;
    this.socket?.close();
    this.socket = null;
  }

  private open(): void {
    if (this.socket && this.socket.readyState <= WebSocket.OPEN) return;
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/live`);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => {
      if (this.waiting) socket.send(this.waiting);
      this.waiting = null;
    });
    socket.addEventListener("message", (event: MessageEvent<ArrayBuffer | string>) => void this.hear(event.data));
    socket.addEventListener("close", () => {
      if (this.socket !== socket) return;
      this.socket = null;
      if (this.waiting) this.fault = "The studio's server does not answer.";
    });
    this.socket = socket;
  }

  private async hear(data: ArrayBuffer | string): Promise<void> {
    const { header, rest } = typeof data === "string" ? { header: JSON.parse(data) as Header, rest: null } : unpack(data);
    const since = this.sent.get(header.id);
    for (const id of this.sent.keys()) if (id <= header.id) this.sent.delete(id);
    if (header.id < this.shown) return;
    this.shown = header.id;
    if (!header.ok) {
      this.fault = header.detail ?? "This could not be answered.";
      return;
    }
    const picture = rest?.byteLength ? await createImageBitmap(new Blob([rest], { type: "image/png" })) : null;
    if (header.id < this.shown) return;
    this.fault = "";
    this.frame = { kind: header.kind, sample: header.sample, fields: header.fields, picture };
    this.took = since === undefined ? null : performance.now() - since;
  }
}

function unpack(data: ArrayBuffer): { header: Header; rest: ArrayBuffer } {
  const length = new DataView(data).getUint32(0);
  return { header: JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length))), rest: data.slice(4 + length) };
}
