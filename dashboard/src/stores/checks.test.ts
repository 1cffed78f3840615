import { expect, test } from "vitest";
import { parse } from "../api/exposition";
import { readEngine } from "../api/engine";
import { readStream } from "../api/model";
import { checks } from "./checks";
import { History } from "./history";
import type { LiveState } from "./live";

const NONE = { value: null, at: null, fault: null };
const EMPTY: LiveState = { streams: NONE, figures: NONE, health: NONE, engines: NONE, clockOffset: 0, figuresExact: null, isFollowing: true, cut: null, isPaused: false, isSettled: true, everyS: 1 };

const levels = (state: Partial<LiveState>) => new Map(checks({ ...EMPTY, ...state }, new History(), 10_000).map(({ id, level }) => [id, level]));
const reading = <T>(value: T) => ({ value, at: 0, fault: null });

/** Guards: what is not known is never said to be in order. */
test("without answers everything is unknown", () => {
  const found = levels({});
  expect([...found.values()].every((level) => level === "unknown")).toBe(true);
  expect(found.size).toBeGreaterThan(2);
});

/** Guards: each fault an operator has to act on is named, worst first. */
test("faults are named", () => {
  const engine = (container_id: string, state: string) => readEngine({ container_id, host: "h", port: 1, state });
  const state = {
    engines: reading([engine("a", "healthy"), engine("b", "down")]),
    streams: reading([readStream({ key: "k", state: "playing", last_media_at: new Date(0).toISOString() }, 10_000)]),
    figures: reading(parse('sluice_store_state{state="failing"} 1\nsluice_store_state{state="ok"} 0\nsluice_task_panics_total 2\n')),
  };
  const found = levels(state);
  expect(Object.fromEntries(found)).toMatchObject({ "engines.down": "warn", "streams.stalled": "bad", store: "bad", bugs: "bad" });
  expect([...found.values()][0]).toBe("bad");
  expect(levels({ engines: reading([engine("b", "down")]) }).get("engines.down")).toBe("bad");
  expect(levels({ engines: reading([]) }).get("engines")).toBe("bad");
});
