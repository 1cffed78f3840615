// What the appliance shows, kept fresh by one loop per tab.
//
// Every source has its own reading: the last value, when it came, and the fault of the last attempt if it failed. A failed
// attempt never takes a value away and never makes one up. The loop waits for its answers before it waits for its interval, so
// that looks never overlap; it grows slower when answers are slow, and rests while nobody sees the page.
import type { Api, Dated } from "../api/api";
import { enginesOf } from "../api/engine";
import type { Figures } from "../api/exposition";
import type { Engine, Health, Stream } from "../api/model";
import type { Fault, Outcome } from "../api/outcome";
import { Ended } from "./ended";
import { History } from "./history";
import { Shards } from "./shards";
import { Store } from "./store";

export interface Reading<T> {
  value: T | null;
  /** When the value came, by this browser's clock; milliseconds since 1970. */
  at: number | null;
  fault: Fault | null;
}

export interface LiveState {
  streams: Reading<Stream[]>;
  figures: Reading<Figures>;
  health: Reading<Health>;
  engines: Reading<Engine[]>;
  /** What the appliance's clock says more than this browser's, milliseconds. */
  clockOffset: number;
  isPaused: boolean;
  /** Whether a first look has ended, well or not. */
  isSettled: boolean;
  /** Seconds between looks, as they really are. */
  everyS: number;
}

const NOTHING = { value: null, at: null, fault: null };
/** Asking takes at most this share of the time. */
const BUSY_SHARE = 0.1;
/** How often a hidden page looks, milliseconds. */
const HIDDEN_MS = 30_000;

export class Live {
  readonly state = new Store<LiveState>({
    streams: NOTHING,
    figures: NOTHING,
    health: NOTHING,
    engines: NOTHING,
    clockOffset: 0,
    isPaused: false,
    isSettled: false,
    everyS: 0,
  });
  readonly history = new History();
  readonly ended = new Ended();
  readonly shards = new Shards();
  private stopped = new AbortController();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isLooking = false;
  /** Whether `/engines` is there; found out by asking once. */
  private hasEngines = true;

  constructor(
    private readonly api: Api,
    private intervalMs: number,
  ) {}

  start(): void {
    this.stopped = new AbortController();
    document.addEventListener("visibilitychange", this.onVisibility);
    void this.look();
  }

  stop(): void {
    document.removeEventListener("visibilitychange", this.onVisibility);
    this.stopped.abort();
    clearTimeout(this.timer);
  }

  setInterval(milliseconds: number): void {
    this.intervalMs = milliseconds;
    this.refresh();
  }

  setPaused(isPaused: boolean): void {
    this.state.update((state) => ({ ...state, isPaused }));
    if (isPaused) clearTimeout(this.timer);
    else this.refresh();
  }

  /** Looks now, unless it is looking already. */
  refresh = (): void => {
    clearTimeout(this.timer);
    if (!this.isLooking) void this.look();
  };

  private onVisibility = () => {
    if (document.visibilityState === "visible" && !this.state.get().isPaused) this.refresh();
  };

  private async look(): Promise<void> {
    this.isLooking = true;
    const { signal } = this.stopped;
    const begun = performance.now();
    const [streams, figures, health, engines] = await Promise.all([
      this.api.streams(signal),
      this.api.figures(signal),
      this.api.health(signal),
      this.hasEngines ? this.api.engines(signal) : null,
    ]);
    this.isLooking = false;
    if (signal.aborted) return;
    const took = performance.now() - begun;
    const rest = document.visibilityState === "visible" ? this.intervalMs : HIDDEN_MS;
    const wait = Math.max(rest, took / BUSY_SHARE);
    this.take(streams, figures, health, engines, wait / 1000);
    if (!this.state.get().isPaused) this.timer = setTimeout(() => void this.look(), wait);
  }

  private take(
    streams: Outcome<Dated<Stream[]>>,
    figures: Outcome<Dated<Figures>>,
    health: Outcome<Health>,
    engines: Outcome<Dated<Engine[]>> | null,
    everyS: number,
  ): void {
    const now = Date.now();
    const before = this.state.get();
    if (engines?.status === "error" && engines.fault.kind === "no_route") this.hasEngines = false;
    const next: LiveState = {
      ...before,
      streams: taken(before.streams, undated(streams), now),
      figures: taken(before.figures, undated(figures), now),
      health: taken(before.health, health, now),
      engines: engines && this.hasEngines ? taken(before.engines, undated(engines), now) : before.engines,
      clockOffset: streams.status === "success" ? offset(streams.value.at, now, before) : before.clockOffset,
      isSettled: true,
      everyS,
    };
    if (!this.hasEngines) next.engines = enginesIn(next.figures);
    if (figures.status === "success") this.history.add(now, figures.value.value);
    if (streams.status === "success") this.ended.see(now, streams.value.value);
    this.state.set(next);
  }
}

function undated<T>(outcome: Outcome<Dated<T>>): Outcome<T> {
  return outcome.status === "success" ? { status: "success", value: outcome.value.value } : outcome;
}

function taken<T>(before: Reading<T>, outcome: Outcome<T>, now: number): Reading<T> {
  if (outcome.status === "success") return { value: outcome.value, at: now, fault: null };
  return outcome.status === "error" ? { ...before, fault: outcome.fault } : before;
}

function enginesIn({ value, at, fault }: Reading<Figures>): Reading<Engine[]> {
  return { value: value && enginesOf(value), at, fault };
}

/** The header that carries the clock has whole seconds; a difference below that is none. */
function offset(theirs: number, ours: number, before: LiveState): number {
  const difference = theirs + 500 - ours;
  return Math.abs(difference - before.clockOffset) > 1500 ? difference : before.clockOffset;
}
