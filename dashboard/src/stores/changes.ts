// What happened while the page follows: the newest entries of the log, and which lists have to be read anew.
import type { Followed } from "../api/follow";
import { readEntry, type LogEntry } from "../api/log";
import { Store } from "./store";

const ENTRIES_MAX = 500;
/** Kinds of changes that concern engines. */
const FLEET: ReadonlySet<string> = new Set(["engine", "provision", "pull", "reprovision"]);

export interface ChangeState {
  /** Entries that came by themselves, newest first. */
  entries: readonly LogEntry[];
  /** Rises when a stream began or ended. */
  streams: number;
  /** Rises when something about engines is otherwise. */
  engines: number;
  /** Rises when the list of looping streams is another one. */
  looping: number;
  /** Rises when nobody knows what was missed. */
  missed: number;
}

export class Changes {
  readonly state = new Store<ChangeState>({ entries: [], streams: 0, engines: 0, looping: 0, missed: 0 });

  take(told: Exclude<Followed, { kind: "look" }>): void {
    if (told.kind === "missed") {
      this.state.update((state) => ({ ...state, entries: [], streams: state.streams + 1, engines: state.engines + 1, looping: state.looping + 1, missed: state.missed + 1 }));
      return;
    }
    if (told.what === "stream") this.state.update((state) => ({ ...state, streams: state.streams + 1 }));
    if (FLEET.has(told.what)) this.state.update((state) => ({ ...state, engines: state.engines + 1 }));
    if (told.what === "looping") this.state.update((state) => ({ ...state, looping: state.looping + 1 }));
    if (told.what === "event") this.enter(told.data);
  }

  private enter(data: unknown): void {
    const entry = readEntry(data);
    this.state.update((state) => {
      // After a cut some are told again.
      const others = state.entries.filter((known) => known.id !== entry.id);
      return { ...state, entries: [entry, ...others].slice(0, ENTRIES_MAX) };
    });
  }
}
