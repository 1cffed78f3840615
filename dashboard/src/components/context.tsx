// What every part of the panel may use: the API, the loop that keeps its figures fresh, and what the appliance can do.
import { createContext, useContext, useEffect, useState, useSyncExternalStore } from "react";
import type { Api } from "../api/api";
import type { Session } from "../stores/session";
import { useStore } from "../stores/store";
import type { Live, LiveState, Reading } from "../stores/live";
import type { Titles } from "../stores/titles";
import type { Work } from "../stores/work";

export interface Services {
  api: Api;
  session: Session;
  live: Live;
  work: Work;
  titles: Titles;
}

const Context = createContext<Services | null>(null);
export const ServicesProvider = Context.Provider;

export function useServices(): Services {
  const services = useContext(Context);
  if (!services) throw new Error("no services around this component");
  return services;
}

export function useLive<U>(select: (state: LiveState) => U): U {
  return useStore(useServices().live.state, select);
}

/** A clock that moves in steps while somebody looks at it. Whoever goes by it is drawn at once with all the others. */
class Clock {
  private now = Date.now();
  private timer: ReturnType<typeof setInterval> | undefined;
  private readonly lookers = new Set<() => void>();

  constructor(private readonly everyMs: number) {}

  get = (): number => {
    if (this.timer === undefined && Date.now() - this.now >= this.everyMs / 10) this.now = Date.now();
    return this.now;
  };

  subscribe = (look: () => void): (() => void) => {
    this.lookers.add(look);
    this.timer ??= setInterval(() => {
      this.now = Date.now();
      for (const each of [...this.lookers]) each();
    }, this.everyMs);
    return () => {
      this.lookers.delete(look);
      if (this.lookers.size > 0) return;
      clearInterval(this.timer);
      this.timer = undefined;
    };
  };
}

const clocks = new Map<number, Clock>();

/** This browser's clock, every so often. */
export function useNow(everyMs = 1000): number {
  let clock = clocks.get(everyMs);
  if (!clock) clocks.set(everyMs, (clock = new Clock(everyMs)));
  return useSyncExternalStore(clock.subscribe, clock.get);
}

/** The appliance's clock. */
export function useTheirNow(everyMs = 1000): number {
  const offset = useLive((state) => state.clockOffset);
  return useNow(everyMs) + offset;
}

/** Whether a reading is too old to be taken for the present: its last attempt failed, or several looks are missing. */
export function isStale(reading: Reading<unknown>, state: LiveState, now: number): boolean {
  if (reading.at === null) return true;
  return reading.fault !== null || now - reading.at > 3000 * Math.max(state.everyS, 1) + 2000;
}

/** What the appliance offers, asked once; `null` while it is not known or when it does not say. */
export function useOperations(): ReadonlySet<string> | null {
  const { api } = useServices();
  const [operations, setOperations] = useState<ReadonlySet<string> | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    void api.operations(stop.signal).then((outcome) => {
      if (outcome.status === "success") setOperations(outcome.value);
    });
    return () => stop.abort();
  }, [api]);
  return operations;
}
