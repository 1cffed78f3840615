// Replacing all engines, which takes a while: how far it is, known on every page.
import type { Api } from "../api/api";
import type { Reprovision } from "../api/fleet";
import type { Changes } from "./changes";
import { Store } from "./store";

const LOOK_MS = 1000;

export interface WorkState {
  work: Reprovision | null;
  /** When it was first seen here, so that what was over before is not told. */
  seenRunning: boolean;
  isDismissed: boolean;
}

export class Work {
  readonly state = new Store<WorkState>({ work: null, seenRunning: false, isDismissed: false });
  private timer: ReturnType<typeof setTimeout> | undefined;
  private stop: AbortController | null = null;
  private seenEngines = 0;

  constructor(
    private readonly api: Api,
    private readonly changes: Changes,
  ) {}

  /** Looks now and for as long as it goes on, and again when engines change. */
  start(): () => void {
    this.look();
    const release = this.changes.state.subscribe(() => {
      const { engines } = this.changes.state.get();
      if (engines === this.seenEngines) return;
      this.seenEngines = engines;
      if (this.timer === undefined) this.timer = setTimeout(this.look, LOOK_MS);
    });
    return () => {
      release();
      clearTimeout(this.timer);
      this.timer = undefined;
      this.stop?.abort();
    };
  }

  look = (): void => {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.stop?.abort();
    const stop = new AbortController();
    this.stop = stop;
    void this.api.reprovisioning(stop.signal).then((outcome) => {
      if (stop.signal.aborted || outcome.status !== "success") return;
      const work = outcome.value;
      this.state.update((state) => ({ work, seenRunning: state.seenRunning || work.isRunning, isDismissed: state.isDismissed && !work.isRunning }));
      if (work.isRunning) this.timer = setTimeout(this.look, LOOK_MS);
    });
  };

  dismiss = (): void => this.state.update((state) => ({ ...state, isDismissed: true, seenRunning: false }));
}
