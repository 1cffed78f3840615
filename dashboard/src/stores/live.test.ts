import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Api, Dated } from "../api/api";
import { parse } from "../api/exposition";
import type { Followed } from "../api/follow";
import { readStream, type Stream } from "../api/model";
import { failure, success, type Outcome } from "../api/outcome";
import { Live } from "./live";

const DOWN = failure({ kind: "unreachable", message: "refused" });

/** An API whose streams answer as told; everything else is down. */
function api(streams: () => Promise<Outcome<Dated<Stream[]>>>): Api {
  const down = () => Promise.resolve(DOWN);
  return { streams, figures: down, health: down, engines: down, past: down, follow: () => Promise.resolve(DOWN.status === "error" ? DOWN.fault : null) } as unknown as Api;
}

const dated = (...keys: string[]): Outcome<Dated<Stream[]>> => success({ value: keys.map((key) => readStream({ key }, 0)), at: Date.now() });

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Guards: a look that fails takes no value away and makes none up; the age of what is there stays true. */
test("a failed look keeps the last value and its time", async () => {
  let answer = dated("a");
  const live = new Live(api(() => Promise.resolve(answer)), 1000);
  live.start();
  await vi.advanceTimersByTimeAsync(10);
  const first = live.state.get().streams;
  expect(first).toMatchObject({ fault: null, value: [{ key: "a" }] });
  expect(live.state.get().figures).toEqual({ value: null, at: null, fault: { kind: "unreachable", message: "refused" } });
  answer = DOWN;
  await vi.advanceTimersByTimeAsync(5000);
  expect(live.state.get().streams).toEqual({ ...first, fault: { kind: "unreachable", message: "refused" } });
  live.stop();
});

/** Guards: looks never overlap, and a slow appliance is asked less often. */
test("looks wait for their answers", async () => {
  let asked = 0;
  const slow = () => {
    asked += 1;
    return new Promise<Outcome<Dated<Stream[]>>>((resolve) => setTimeout(() => resolve(dated("a")), 2000));
  };
  const live = new Live(api(slow), 1000);
  live.start();
  await vi.advanceTimersByTimeAsync(1900);
  live.refresh();
  expect(asked).toBe(1);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(asked).toBe(1);
  await vi.advanceTimersByTimeAsync(12_000);
  expect(asked).toBe(2);
  live.stop();
});

/** Guards: a stream that is gone is kept with the ended ones, and leaves them when it is back. */
test("streams that go are kept as ended", async () => {
  let answer = dated("a", "b");
  const live = new Live(api(() => Promise.resolve(answer)), 1000);
  live.start();
  await vi.advanceTimersByTimeAsync(10);
  answer = dated("b");
  await vi.advanceTimersByTimeAsync(1100);
  expect(live.ended.list.get().map(({ stream }) => stream.key)).toEqual(["a"]);
  answer = dated("a", "b");
  await vi.advanceTimersByTimeAsync(1100);
  expect(live.ended.list.get()).toEqual([]);
  live.stop();
});

/** Guards: paused means no request. */
test("nothing is asked while it is paused", async () => {
  let asked = 0;
  const live = new Live(api(() => {
    asked += 1;
    return Promise.resolve(dated("a"));
  }), 1000);
  live.start();
  await vi.advanceTimersByTimeAsync(10);
  live.setPaused(true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toBe(1);
  live.setPaused(false);
  await vi.advanceTimersByTimeAsync(10);
  expect(asked).toBe(2);
  live.stop();
});

/** Guards: a page that nobody sees asks nothing and follows nothing, and looks at once when it is seen again. */
test("nothing is asked while nobody sees the page", async () => {
  let asked = 0;
  const live = new Live(api(() => {
    asked += 1;
    return Promise.resolve(dated("a"));
  }), 1000);
  const seen = vi.spyOn(document, "visibilityState", "get").mockReturnValue("hidden");
  live.start();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toBe(0);
  seen.mockReturnValue("visible");
  document.dispatchEvent(new Event("visibilitychange"));
  await vi.advanceTimersByTimeAsync(10);
  expect(asked).toBe(1);
  seen.mockReturnValue("hidden");
  document.dispatchEvent(new Event("visibilitychange"));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toBe(1);
  live.stop();
  seen.mockRestore();
});

/** Guards: what is told by itself is shown as live and nothing is asked beside it; a cut is said, the sources are asked until following works again, and it goes on where it was. */
test("follows, asks while it is cut, and follows again", async () => {
  let asked = 0;
  const places: (string | null)[] = [];
  let cut: (() => void) | null = null;
  const look = { at: 0, streams: [readStream({ key: "told" }, 0)], engines: [], figures: parse("") };
  const following = {
    ...api(() => {
      asked += 1;
      return Promise.resolve(dated("asked"));
    }),
    follow: (_every: number, from: string | null, onPlace: (place: string) => void, onTold: (told: Followed) => void, signal: AbortSignal) => {
      places.push(from);
      if (places.length === 2) return Promise.resolve({ kind: "unreachable" as const, message: "" });
      onPlace(`place-${places.length}`);
      onTold({ kind: "look", look });
      onTold({ kind: "change", what: "event", data: { id: places.length, message: "m" } });
      return new Promise<null | { kind: "unreachable"; message: string }>((resolve) => {
        cut = () => resolve({ kind: "unreachable", message: "cut" });
        signal.addEventListener("abort", () => resolve(null));
      });
    },
  } as unknown as Api;
  const live = new Live(following, 1000);
  live.start();
  await vi.advanceTimersByTimeAsync(5000);
  expect(live.state.get()).toMatchObject({ isFollowing: true, cut: null, streams: { value: [{ key: "told" }] } });
  expect(asked).toBe(0);
  (cut as (() => void) | null)?.();
  await vi.advanceTimersByTimeAsync(10);
  expect(live.state.get()).toMatchObject({ isFollowing: false, cut: { message: "cut" }, streams: { value: [{ key: "asked" }] } });
  await vi.advanceTimersByTimeAsync(2500);
  expect(places).toEqual([null, "place-1", "place-1"]);
  expect(live.state.get().isFollowing).toBe(true);
  expect(live.changes.state.get().entries.map(({ id }) => id)).toEqual([3, 1]);
  live.stop();
});
