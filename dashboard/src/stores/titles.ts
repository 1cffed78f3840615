// What engines call what they play. Nobody else knows it, and an engine says it when it is asked: once for each stream that
// somebody has in sight, one after the other and a while apart.
import type { Api } from "../api/api";
import { Store } from "./store";

/** Between two questions, milliseconds. */
const GAP_MS = 250;
/** After this an engine that said nothing is asked again, milliseconds. */
const AGAIN_MS = 60_000;
const KNOWN_MAX = 2000;

export class Titles {
  /** By the id of the stream; those known longest come first. */
  readonly known = new Store<ReadonlyMap<string, string>>(new Map());
  /** How many want to know each. */
  private readonly wanted = new Map<string, number>();
  /** When each that is not known may be asked for again. */
  private readonly again = new Map<string, number>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isAsking = false;

  constructor(
    private readonly api: Api,
    /** Whether nothing is to be asked now. */
    private readonly isResting: () => boolean,
  ) {}

  /** Finds out what a stream is called while this is wanted; call what comes back when it no longer is. */
  want(streamId: string): () => void {
    this.wanted.set(streamId, (this.wanted.get(streamId) ?? 0) + 1);
    this.plan();
    return () => {
      const left = (this.wanted.get(streamId) ?? 1) - 1;
      if (left > 0) this.wanted.set(streamId, left);
      else this.wanted.delete(streamId);
    };
  }

  private plan(): void {
    if (this.timer !== undefined || this.isAsking) return;
    this.timer = setTimeout(() => void this.ask(), GAP_MS);
  }

  private async ask(): Promise<void> {
    this.timer = undefined;
    const now = Date.now();
    const isOpen = (id: string) => !this.known.get().has(id) && (this.again.get(id) ?? 0) <= now;
    const id = this.isResting() ? undefined : [...this.wanted.keys()].find(isOpen);
    if (id !== undefined) {
      this.isAsking = true;
      const outcome = await this.api.streamTitle(id, AbortSignal.timeout(AGAIN_MS));
      this.isAsking = false;
      if (outcome.status === "success" && outcome.value) this.learn(id, outcome.value);
      else this.put(this.again, id, now + AGAIN_MS);
    }
    if ([...this.wanted.keys()].some((one) => !this.known.get().has(one))) this.plan();
  }

  private learn(id: string, title: string): void {
    const next = new Map(this.known.get());
    this.put(next, id, title);
    this.again.delete(id);
    this.known.set(next);
  }

  private put<T>(map: Map<string, T>, id: string, value: T): void {
    map.delete(id);
    map.set(id, value);
    const [oldest] = map.keys();
    if (map.size > KNOWN_MAX && oldest !== undefined) map.delete(oldest);
  }
}
