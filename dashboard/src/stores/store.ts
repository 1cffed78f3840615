// A value others watch. One owner changes it; React reads it through `useStore`.
import { useRef, useSyncExternalStore } from "react";

export class Store<T> {
  private readonly listeners = new Set<() => void>();

  constructor(private current: T) {}

  get = (): T => this.current;

  set(next: T): void {
    if (Object.is(next, this.current)) return;
    this.current = next;
    for (const listener of [...this.listeners]) listener();
  }

  update(change: (current: T) => T): void {
    this.set(change(this.current));
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
}

/** The part of a store's value that `select` takes; renders again only when that part is another one. */
export function useStore<T, U = T>(store: Store<T>, select: (value: T) => U = (value) => value as unknown as U): U {
  const last = useRef<{ value: T; part: U } | null>(null);
  return useSyncExternalStore(store.subscribe, () => {
    const value = store.get();
    if (last.current === null || !Object.is(last.current.value, value)) {
      last.current = { value, part: select(value) };
    }
    return last.current.part;
  });
}
