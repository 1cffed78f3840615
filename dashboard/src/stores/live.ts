// What the appliance shows, kept fresh by one connection per tab.
//
// Whoever follows is told figures every so often and what happens as it happens. Where that connection is cut, the sources are
// asked one by one in the same interval, and the page says that it is not live, until following works again. Every source has its
// own reading: the last value, when it came, and the fault of the last attempt if it failed. A failed attempt never takes a value
// away and never makes one up. Looks never overlap, grow slower when answers are slow, and rest while nobody sees the page.
import type { Api, Dated } from "../api/api";
import { enginesOf } from "../api/engine";
import type { Figures } from "../api/exposition";
import type { Followed, Look } from "../api/follow";
import type { Engine, Health, Stream } from "../api/model";
import { success, type Fault, type Outcome } from "../api/outcome";
import { Changes } from "./changes";
import { Ended } from "./ended";
import { History, HISTORY_MS } from "./history";
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
  /** Whether the appliance tells by itself what is new. */
  isFollowing: boolean;
  /** Why not, when it was cut. */
  cut: Fault | null;
  /** When the figures were taken by the appliance's clock, where it says so to the millisecond. */
  figuresExact: number | null;
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

export class Live {
  readonly state = new Store<LiveState>({
    streams: NOTHING,
    figures: NOTHING,
    health: NOTHING,
    engines: NOTHING,
    isFollowing: false,
    cut: null,
    figuresExact: null,
    clockOffset: 0,
    isPaused: false,
    isSettled: false,
    everyS: 0,
  });
  readonly history = new History();
  readonly ended = new Ended();
  readonly shards = new Shards();
  readonly changes = new Changes();
  private stopped = new AbortController();
  /** Ends the connection that follows, so that another one is made. */
  private turn = new AbortController();
  private wake: (() => void) | null = null;
  private isLooking = false;
  /** Whether `/engines` is there; found out by asking once. */
  private hasEngines = true;
  /** Where the last connection was in what happened. */
  private place: string | null = null;

  constructor(
    private readonly api: Api,
    private intervalMs: number,
  ) {}

  start(): void {
    this.stopped = new AbortController();
    document.addEventListener("visibilitychange", this.again);
    void this.run(this.stopped.signal);
  }

  stop(): void {
    document.removeEventListener("visibilitychange", this.again);
    this.stopped.abort();
    this.again();
  }

  setInterval(milliseconds: number): void {
    if (milliseconds === this.intervalMs) return;
    this.intervalMs = milliseconds;
    this.again();
  }

  setPaused(isPaused: boolean): void {
    this.state.update((state) => ({ ...state, isPaused }));
    this.again();
  }

  /** Looks now, unless it is looking already; tries to follow again if that was cut. */
  refresh = (): void => {
    if (this.state.get().isFollowing) void this.look();
    else if (!this.isLooking) this.again();
  };

  /** Begins the loop's turn anew: something it goes by has changed. */
  private again = (): void => {
    this.turn.abort();
    this.wake?.();
  };

  private async run(stopped: AbortSignal): Promise<void> {
    while (!stopped.aborted) {
      this.turn = new AbortController();
      const signal = AbortSignal.any([stopped, this.turn.signal]);
      if (document.visibilityState === "hidden" || this.state.get().isPaused) {
        await this.rest(null, signal);
        continue;
      }
      const cut = await this.api.follow(this.intervalMs / 1000, this.place, (place) => (this.place = place), (told) => this.take(told, signal), signal);
      if (stopped.aborted) return;
      this.state.update((state) => ({ ...state, isFollowing: false }));
      if (signal.aborted) continue;
      this.state.update((state) => ({ ...state, cut }));
      const took = await this.look();
      await this.rest(Math.max(this.intervalMs, took / BUSY_SHARE), signal);
    }
  }

  /** Waits so long, or until the loop's turn begins anew. */
  private rest(milliseconds: number | null, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = milliseconds === null ? undefined : setTimeout(resolve, milliseconds);
      this.wake = () => {
        clearTimeout(timer);
        this.wake = null;
        resolve();
      };
    });
  }

  private take(told: Followed, signal: AbortSignal): void {
    if (signal.aborted) return;
    if (told.kind === "look") this.show(told.look);
    else this.changes.take(told);
  }

  private show({ at, streams, engines, figures }: Look): void {
    this.state.update((state) => ({ ...state, isFollowing: true, cut: null }));
    this.hasEngines = true;
    const health = success(shardsIn(figures));
    this.accept(success({ value: streams, at }), success({ value: figures, at }), health, success({ value: engines, at }), this.intervalMs / 1000, at);
  }

  /** Asks each source once; answers how long that took. */
  private async look(): Promise<number> {
    if (this.isLooking) return 0;
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
    const took = performance.now() - begun;
    if (!signal.aborted) this.accept(streams, figures, health, engines, Math.max(this.intervalMs, took / BUSY_SHARE) / 1000);
    return took;
  }

  /** Asks what the appliance remembers: a page that was just opened, or that nobody saw for a while, shows a full window. */
  private async recall(): Promise<void> {
    const past = await this.api.past(HISTORY_MS / 1000, this.stopped.signal);
    if (past.status !== "success") return;
    this.history.recall(past.value, this.state.get().clockOffset);
    // Whoever draws the past draws it anew.
    this.state.update((state) => ({ ...state, figures: { ...state.figures } }));
  }

  private accept(
    streams: Outcome<Dated<Stream[]>>,
    figures: Outcome<Dated<Figures>>,
    health: Outcome<Health>,
    engines: Outcome<Dated<Engine[]>> | null,
    everyS: number,
    exact: number | null = null,
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
      figuresExact: figures.status === "success" ? exact : before.figuresExact,
    };
    if (!this.hasEngines) next.engines = enginesIn(next.figures);
    if (figures.status === "success" && this.history.add(now, figures.value.value, exact)) void this.recall();
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

/** What the figures say of the shards. */
function shardsIn(figures: Figures): Health {
  const shards = [...figures.by("sluice_io_uring", "shard")].map(([shard, isRing]) => ({ shard: Number(shard), driver: isRing === 1 ? "io_uring" : "epoll" }));
  return { status: null, shards };
}

/** The header that carries the clock has whole seconds; a difference below that is none. */
function offset(theirs: number, ours: number, before: LiveState): number {
  const difference = theirs + 500 - ours;
  return Math.abs(difference - before.clockOffset) > 1500 ? difference : before.clockOffset;
}
