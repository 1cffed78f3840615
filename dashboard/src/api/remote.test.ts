import { expect, test } from "vitest";
import type { Api } from "./api";
import { Figures, parse } from "./exposition";
import type { Followed } from "./follow";
import { host } from "./host";
import { success, type Outcome } from "./outcome";
import { remote, type Asked, type Other, type Told } from "./remote";

const ROOT = new URL("http://appliance.test/below/");

/** The page and its other thread, which may be lost; what goes over is copied as between threads, and counted. */
function over(api: Partial<Record<keyof Api, unknown>>) {
  const lists: number[] = [];
  const asked: Asked[] = [];
  let [take, serve] = [(_: Told) => undefined as void, (_: Asked) => undefined as void];
  let lose: (why: string) => void = () => undefined;
  const later = (call: () => void) => void setTimeout(call);
  const other: Other = {
    ask: (what) => {
      asked.push(what);
      const copy = structuredClone(what);
      later(() => serve(copy));
    },
    listen: (onTold, onLost) => {
      take = onTold;
      lose = onLost;
    },
  };
  host(() => api as unknown as Api, {
    listen: (onAsked) => (serve = onAsked),
    tell: (told) => {
      if (told.kind === "part") lists.push(told.items.length);
      const copy = structuredClone(told);
      later(() => take(copy));
    },
  });
  return { api: remote(other, ROOT), lists, asked, lose: (why: string) => lose(why) };
}

const numbered = (n: number) => Array.from({ length: n }, (_, at) => ({ at }));

/** Guards: what a call comes to is what comes back, its long lists in parts that a page has time for between two frames, whole and in order. */
test("long lists come in parts and are whole", async () => {
  const all = numbered(1234);
  const { api, lists } = over({ streams: () => Promise.resolve(success({ value: all, at: 7 })), usage: () => Promise.resolve(success(new Map([["a", 1]]))) });
  expect(await api.streams(new AbortController().signal)).toEqual(success({ value: all, at: 7 }));
  expect([Math.max(...lists) <= 250, lists.reduce((sum, n) => sum + n)]).toEqual([true, 1234]);
  expect(await api.usage(new AbortController().signal)).toEqual(success(new Map([["a", 1]])));
});

/** Guards: addresses are made here, for links that cannot wait. */
test("addresses are at hand", () => {
  expect([over({}).api.url("metrics"), over({}).api.playUrl("a b", "hls")]).toEqual(["http://appliance.test/below/metrics", "http://appliance.test/below/ace/manifest.m3u8?id=a%20b"]);
});

/** Guards: whoever follows is told everything in the order it happened, figures with all they can do, and why it ended. */
test("what is followed comes in order", async () => {
  const look = { at: 1, streams: numbered(600), engines: numbered(3), figures: parse("sluice_clients 3\n") };
  const change = { kind: "change", what: "stream", data: 1 };
  const follow = async (everyS: number, from: string | null, onPlace: (place: string) => void, onTold: (told: unknown) => void) => {
    onPlace(`after ${from} every ${everyS}`);
    onTold({ kind: "look", look });
    onTold(change);
    return { kind: "unreachable", message: "the connection ended" };
  };
  const seen: (string | Followed)[] = [];
  const { api } = over({ follow });
  const why = await api.follow(2, "there", (place) => seen.push(place), (told) => seen.push(told), new AbortController().signal);
  expect([seen[0], seen[2], why]).toEqual(["after there every 2", change, { kind: "unreachable", message: "the connection ended" }]);
  const told = seen[1] as Extract<Followed, { kind: "look" }>;
  expect(told.look).toEqual(look);
  expect(told.look.figures).toBeInstanceOf(Figures);
  expect(told.look.figures.sum("sluice_clients")).toBe(3);
});

/** Guards: what nobody waits for any more is ended on the other side too, and nothing comes of it. */
test("an aborted call is aborted over there", async () => {
  let [isEnded, calls] = [false, 0];
  const fleet = (signal: AbortSignal) => {
    calls += 1;
    return new Promise((resolve) => signal.addEventListener("abort", () => resolve(void (isEnded = true))));
  };
  const { api } = over({ fleet });
  const stop = new AbortController();
  const answer = api.fleet(stop.signal);
  await expect.poll(() => calls).toBe(1);
  stop.abort();
  expect(await answer).toEqual({ status: "aborted" });
  await expect.poll(() => isEnded).toBe(true);
  expect(await api.fleet(stop.signal)).toEqual({ status: "aborted" });
  expect(calls).toBe(1);
});

/** Guards: a fault on the other side, a handler that fails here, and a thread that never starts are outcomes that say why, not silence. */
test("nothing is lost without a word", async () => {
  const never = () => new Promise(() => undefined);
  const throws = () => Promise.reject(new Error("no such luck"));
  const follow = async (_every: number, _from: null, _place: unknown, onTold: (told: unknown) => void) => (onTold({ kind: "missed" }), never());
  const { api, asked, lose } = over({ fleet: never, version: throws, follow });
  const { signal } = new AbortController();
  const fault = (outcome: Outcome<unknown>) => (outcome.status === "error" ? outcome.fault : outcome.status);
  expect(fault(await api.version(signal))).toEqual({ kind: "broken", message: "no such luck" });
  const told = () => {
    throw new Error("not understood");
  };
  expect(await api.follow(1, null, () => undefined, told, signal)).toEqual({ kind: "broken", message: "not understood" });
  expect(asked.at(-1)?.kind).toBe("abort");
  const waiting = [api.fleet(signal), api.follow(1, null, () => undefined, () => undefined, signal)] as const;
  lose("its script did not come");
  const why = { kind: "broken", message: "its script did not come" };
  expect([fault(await waiting[0]), await waiting[1], fault(await api.fleet(signal))]).toEqual([why, why, why]);
});
