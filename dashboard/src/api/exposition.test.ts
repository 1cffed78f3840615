import { expect, test } from "vitest";
import { parse, quantile, since } from "./exposition";

const TEXT = `# HELP a A
a{shard="0",name="x\\"y\\\\z, w=1"} 1.5
a{shard="1"} 2
b 3 1700000000
broken line here
h_bucket{le="0.01",shard="0"} 90
h_bucket{le="0.1",shard="0"} 99
h_bucket{le="+Inf",shard="0"} 100
`;

/** Guards: samples are found by name and label, escapes included, and what is not there is not 0. */
test("an exposition is read", () => {
  const figures = parse(TEXT);
  expect(figures.sum("a")).toBe(3.5);
  expect(figures.sum("a", { shard: "1" })).toBe(2);
  expect(figures.all("a")[0]?.labels["name"]).toBe('x"y\\z, w=1');
  expect(figures.sum("b")).toBe(3);
  expect(figures.sum("missing")).toBeNull();
  expect(figures.sum("a", { shard: "7" })).toBeNull();
  expect(figures.histogram("missing")).toBeNull();
});

/** Guards: percentiles lie inside their bucket, what is beyond the last bound is said to be, and nothing observed is nothing known. */
test("percentiles come from buckets", () => {
  const histogram = parse(TEXT).histogram("h") ?? [];
  const at = (share: number) => quantile(histogram, share);
  expect(at(0.5)).toBeCloseTo(0.0055, 3);
  expect(at(0.95)).toBeGreaterThan(0.01);
  expect(at(0.95)).toBeLessThanOrEqual(0.1);
  expect(at(0.999)).toBe(Number.POSITIVE_INFINITY);
  expect(quantile([{ bound: 1, count: 0 }], 0.5)).toBeNull();
});

/** Guards: counting that began anew shows what there is instead of less than nothing. */
test("a restart does not make negative counts", () => {
  const later = [{ bound: 1, count: 5 }];
  expect(since(later, [{ bound: 1, count: 3 }])).toEqual([{ bound: 1, count: 2 }]);
  expect(since(later, [{ bound: 1, count: 9 }])).toEqual(later);
});
