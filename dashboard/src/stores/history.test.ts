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

/** Guards: an hour of looking holds no more than the quarter of an hour that is shown. */
test("history is bounded", () => {
  const history = new History();
  for (let at = 0; at < 3600; at += 1) history.add(at * 1000, scrape(at));
  expect(history.all().length).toBeLessThanOrEqual(900);
  expect(history.all()[0]?.at).toBeGreaterThanOrEqual(3599_000 - 15 * 60_000);
});
