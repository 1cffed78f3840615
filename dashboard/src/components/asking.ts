// Asking for what does not come by itself, and doing what changes something.
import { useCallback, useEffect, useRef, useState, type DependencyList } from "react";
import type { Fault, Outcome } from "../api/outcome";
import { notify } from "../stores/notices";
import type { ChangeState } from "../stores/changes";
import type { Reading } from "../stores/live";
import { useStore } from "../stores/store";
import { useServices } from "./context";
import { faultText } from "./status";

/** Between two questions that are asked because something changed, milliseconds: changes come in heaps. */
const GAP_MS = 1000;

/**
 * The answer to a question: asked when its subject changes, again when told to, and every so often if wanted while somebody sees
 * the page. An answer that fails takes no value away; one that came elsewhere is taken with `take`.
 */
export function useAnswer<T>(ask: (signal: AbortSignal) => Promise<Outcome<T>>, subject: DependencyList, everyMs: number | null = null): { reading: Reading<T>; again: () => void; take: (value: T) => void } {
  const [reading, setReading] = useState<Reading<T>>({ value: null, at: null, fault: null });
  const [turn, setTurn] = useState(0);
  const asked = useRef(ask);
  asked.current = ask;
  useEffect(() => setReading({ value: null, at: null, fault: null }), subject);
  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async () => {
      if (document.visibilityState !== "hidden") {
        const outcome = await asked.current(stop.signal);
        if (stop.signal.aborted) return;
        if (outcome.status === "success") setReading({ value: outcome.value, at: Date.now(), fault: null });
        else if (outcome.status === "error") setReading((before) => ({ ...before, fault: outcome.fault }));
      }
      if (everyMs !== null) timer = setTimeout(() => void look(), everyMs);
    };
    void look();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [turn, everyMs, ...subject]);
  const take = useCallback((value: T) => setReading({ value, at: Date.now(), fault: null }), []);
  return { reading, again: useCallback(() => setTurn((before) => before + 1), []), take };
}

/** Calls when what is picked of the changes is another number, at most once a second. */
export function useChange(pick: (state: ChangeState) => number, call: () => void): void {
  const { live } = useServices();
  const number = useStore(live.changes.state, pick);
  const seen = useRef(number);
  const last = useRef(0);
  useEffect(() => {
    if (number === seen.current) return;
    seen.current = number;
    const timer = setTimeout(() => {
      last.current = Date.now();
      call();
    }, Math.max(0, last.current + GAP_MS - Date.now()));
    return () => clearTimeout(timer);
  }, [number]);
}

/** Does something and tells when it failed: the reason in a notice that stays, and want of the key asks for it. */
export function useAct(): <T>(call: () => Promise<Outcome<T>>, failed: string) => Promise<{ value: T } | { fault: Fault } | null> {
  const { session } = useServices();
  return useCallback(
    async (call, failed) => {
      const outcome = await call();
      if (outcome.status === "success") return { value: outcome.value };
      if (outcome.status === "aborted") return null;
      session.refused(outcome.fault);
      notify("failed", failed, faultText(outcome.fault));
      return { fault: outcome.fault };
    },
    [session],
  );
}

/** Hands a file to the browser. */
export function saveFile(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
