import { expect, test } from "vitest";
import { parse } from "../api/exposition";
import { History } from "./history";

const scrape = (bytes: number) => parse(`sluice_client_bytes_total{shard="0"} ${bytes}\nsluice_clients{shard="0"} 3\n`);

/** Guards: rates come from two totals; a restart and a long hole show nothing instead of a wrong rate. */
test("rates are of what was measured", () => {
  const history = new History();
  const egress = (at: number, bytes: number) => {
    history.add(at, scrape(bytes));
    return history.newest()?.egress;
  };
  expect(egress(0, 1000)).toBeNull();
  expect(egress(1000, 2000)).toBe(8000);
  expect(egress(2000, 10)).toBeNull();
  expect(egress(3000, 1010)).toBe(8000);
  expect(egress(200_000, 5000)).toBeNull();
  expect(history.newest()).toMatchObject({ players: 3, streams: null });
});

/** Guards: what was held up on its way and comes right before the next makes no rate that never was: the clock of the appliance counts where it is told. */
test("rates go by when totals were taken", () => {
  const history = new History();
  history.add(0, scrape(1000), 50_000);
  history.add(3900, scrape(3000), 52_000);
  expect(history.newest()?.egress).toBe(8000);
  history.add(4000, scrape(5000), 54_000);
  expect(history.newest()?.egress).toBe(8000);
  history.add(6000, scrape(7000));
  expect(history.newest()?.egress).toBe(8000);
});

/** Guards: an hour of looking holds no more than the quarter of an hour that is shown. */
test("history is bounded", () => {
  const history = new History();
  for (let at = 0; at < 3600; at += 1) history.add(at * 1000, scrape(at));
  expect(history.all().length).toBeLessThanOrEqual(900);
  expect(history.all()[0]?.at).toBeGreaterThanOrEqual(3599_000 - 15 * 60_000);
});

/** Guards: what the appliance remembers comes before what was seen here, by this browser's clock, and is not told twice. */
test("what is remembered fills the window", () => {
  const history = new History();
  expect(history.add(1_000_000, scrape(1000))).toBe(true);
  const point = (at: number) => ({ at, players: 7, waiting: 0, streams: 2, engines: 1, engines_used: 1, peers: 3, egress_bps: 9000, ingress_bps: 500, download_bps: 1, upload_bps: 1 });
  history.recall({ everyS: 5, points: [point(1_490_000), point(1_495_000)], join: [], gap: [] }, 500_000);
  expect(history.all().map(({ at }) => at)).toEqual([990_000, 995_000]);
  expect(history.newest()).toMatchObject({ players: 7, egress: 9000 });
  expect(history.add(1_002_000, scrape(2000))).toBe(false);
  expect(history.all().map(({ at }) => at)).toEqual([990_000, 995_000, 1_002_000]);
  expect(history.add(1_100_000, scrape(3000))).toBe(true);
});

/** Guards: a page that was just opened tells how long joins took over the whole quarter of an hour; where counting began anew it tells what was counted since. */
test("what was observed before the page was opened counts", () => {
  const buckets = (within: number, all: number) => [{ bound: 0.5, count: within }, { bound: Number.POSITIVE_INFINITY, count: all }];
  const joins = (within: number, all: number) => parse(`sluice_join_seconds_bucket{le="0.5",shard="0"} ${within}\nsluice_join_seconds_bucket{le="+Inf",shard="0"} ${all}\n`);
  const now = 10_000_000;
  const history = new History();
  history.add(now, joins(90, 100));
  const newest = joins(90, 100).histogram("sluice_join_seconds");
  expect(history.recent("join", newest)).toEqual({ histogram: buckets(0, 0), since: now });
  history.recall({ everyS: 5, points: [], join: [{ at: now + 200_000, histogram: buckets(1, 500) }, { at: now + 440_000, histogram: buckets(10, 20) }], gap: [] }, 500_000);
  // The first of the two was counted before a shard began anew.
  expect(history.recent("join", newest)).toEqual({ histogram: buckets(80, 80), since: now - 60_000 });
  for (let at = now; at <= now + 20 * 60_000; at += 5000) history.add(at, joins(90, 100));
  expect(history.recent("join", newest)?.since).toBeGreaterThanOrEqual(now + 5 * 60_000);
  expect(history.recent("gap", newest)?.since).toBeNull();
});
