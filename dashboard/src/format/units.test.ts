import { expect, test } from "vitest";
import { plain, short } from "./text";
import { atMost, bitrate, bytes, count, duration, span } from "./units";

/** Guards: what is not known reads as unknown in every unit. */
test("unknown is a dash", () => {
  for (const format of [atMost, bitrate, bytes, count, duration, span]) expect(format(null)).toBe("–");
});

/** Guards: numbers are read in the units people use. */
test("units", () => {
  expect([0, 999_000, 8_340_000, 129e9].map(bitrate)).toEqual(["0 Mbit/s", "1.00 Mbit/s", "8.34 Mbit/s", "129 Gbit/s"]);
  expect([0, 1023, 1536, 2 ** 31].map(bytes)).toEqual(["0 B", "1,023 B", "1.50 KiB", "2.00 GiB"]);
  expect([0.0001, 0.0043, 0.25, 12.34, 300, Number.POSITIVE_INFINITY].map(span)).toEqual(["< 1 ms", "4.3 ms", "250 ms", "12.3 s", "300 s", "> 60 s"]);
  expect([0.0001, 0.0043, Number.POSITIVE_INFINITY].map(atMost)).toEqual(["< 1 ms", "≤ 4.3 ms", "> 60 s"]);
  expect([900, 61_000, 3_700_000, 90_000_000].map(duration)).toEqual(["0 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
});

/** Guards: text of strangers changes neither direction nor length of the page. */
test("text of strangers is made harmless", () => {
  expect(plain("a\u202egnp.exe\u0007")).toBe("a·gnp.exe·");
  expect(plain("x".repeat(10_240)).length).toBeLessThan(310);
  expect(short("0123456789abcdef0123456789abcdef01234567")).toBe("01234567…4567");
  expect(short("<script>")).toBe("<script>");
});
