import { expect, test } from "vitest";
import { readClient, readStream } from "./model";

const NOW = Date.parse("2026-01-01T00:00:10Z");

/** Guards: a field that is missing or of another kind is unknown, never 0 and never a word made up. */
test("what is missing is unknown", () => {
  const stream = readStream({ key: "k", client_count: "7", state: "new state" }, NOW);
  expect(stream).toMatchObject({ key: "k", id: "k", players: null, state: "unknown", bitrate: null, peers: null, engine: null, splices: null });
  expect(() => readStream({}, NOW)).toThrow("key");
  expect(() => readStream(null, NOW)).toThrow();
  expect(readClient({}).behindSeconds).toBeNull();
});

/** Guards: the state is what players see: a stream that says it plays while nothing comes is stalled. */
test("a silent stream is stalled whatever it says", () => {
  const at = (last_media_at: string, state = "playing") => readStream({ key: "k", state, last_media_at }, NOW).state;
  expect(at("2026-01-01T00:00:09Z")).toBe("playing");
  expect(at("2026-01-01T00:00:02Z")).toBe("stalled");
  expect(at("2026-01-01T00:00:02Z", "recovering")).toBe("recovering");
  expect(readStream({ key: "k", last_media_at: "2026-01-01T00:00:02Z" }, NOW).silentMs).toBe(8000);
});

/** Guards: engines write positions as numbers and as strings, and -1 for unknown; a lag is never negative. */
test("positions are read in both forms", () => {
  const behind = (livepos: unknown) => readStream({ key: "k", stat: { livepos } }, NOW).behindSeconds;
  expect(behind({ pos: "100", live_last: "123" })).toBe(23);
  expect(behind({ pos: 100, last: 90 })).toBe(0);
  expect(behind({ pos: -1, live_last: 5 })).toBeNull();
});
