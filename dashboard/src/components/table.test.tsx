import { expect, test } from "vitest";
import { sorted, sortingOf, sortingText, type Column } from "./table";

interface Row {
  key: string;
  n: number | null;
}

const COLUMNS: Column<Row>[] = [{ key: "n", head: "n", width: "1fr", sort: (row) => row.n, cell: (row) => row.n }];
const ROWS: Row[] = [{ key: "b", n: 2 }, { key: "a", n: 2 }, { key: "x", n: null }, { key: "c", n: 10 }];
const order = (isDescending: boolean) => sorted(ROWS, COLUMNS, { key: "n", isDescending }, (row) => row.key).map((row) => row.key);

/** Guards: what is not known is last either way, numbers are ordered as numbers, and equals keep one order. */
test("rows are sorted", () => {
  expect(order(false)).toEqual(["a", "b", "c", "x"]);
  expect(order(true)).toEqual(["c", "a", "b", "x"]);
});

/** Guards: an order in the address is read back as it was written, and nonsense is the usual order. */
test("an order has a text", () => {
  const usual = { key: "players", isDescending: true };
  for (const sorting of [{ key: "n", isDescending: true }, { key: "n", isDescending: false }]) {
    expect(sortingOf(sortingText(sorting), usual)).toEqual(sorting);
  }
  expect(sortingOf("", usual)).toEqual(usual);
  expect(sortingOf("<b>", usual)).toEqual(usual);
});
