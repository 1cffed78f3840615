// Streams that were there at one look and gone at the next. The appliance is asked why only when somebody opens one.
import type { Stream } from "../api/model";
import { Store } from "./store";

export interface EndedStream {
  stream: Stream;
  /** When it was first missing; the end came between the look before and this. */
  at: number;
}

const ENDED_MAX = 200;

export class Ended {
  readonly list = new Store<readonly EndedStream[]>([]);
  private known = new Map<string, Stream>();

  see(at: number, streams: readonly Stream[]): void {
    const now = new Map(streams.map((stream) => [stream.key, stream]));
    const gone = [...this.known.values()].filter((stream) => !now.has(stream.key));
    this.known = now;
    const before = this.list.get();
    const back = before.some(({ stream }) => now.has(stream.key));
    if (gone.length === 0 && !back) return;
    const kept = before.filter(({ stream }) => !now.has(stream.key));
    this.list.set([...gone.map((stream) => ({ stream, at })), ...kept].slice(0, ENDED_MAX));
  }
}
