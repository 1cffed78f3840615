import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Api } from "../api/api";
import { failure, success } from "../api/outcome";
import { Titles } from "./titles";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function titles(says: (id: string) => string | null, isResting = () => false) {
  const asked: string[] = [];
  const api = {
    streamTitle: async (id: string) => {
      asked.push(id);
      const title = says(id);
      return title === "down" ? failure({ kind: "refused", message: "" }) : success(title);
    },
  } as unknown as Api;
  return { titles: new Titles(api, isResting), asked };
}

/** Guards: each stream in sight is asked for once, however many want it, one at a time; what is out of sight before its turn is not. */
test("each is asked for once", async () => {
  const { titles: of, asked } = titles((id) => `title of ${id}`);
  const [leave, , second] = [of.want("a"), of.want("a"), of.want("b"), of.want("c")];
  await vi.advanceTimersByTimeAsync(300);
  expect(asked).toEqual(["a"]);
  second?.();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(asked).toEqual(["a", "c"]);
  expect([...of.known.get()]).toEqual([["a", "title of a"], ["c", "title of c"]]);
  leave();
  of.want("a");
  await vi.advanceTimersByTimeAsync(10_000);
  expect(asked).toEqual(["a", "c"]);
});

/** Guards: an engine that says nothing, or fails, is not asked again and again, and those behind it get their turn. */
test("one that says nothing is asked again later", async () => {
  let says: string | null = "down";
  const { titles: of, asked } = titles((id) => (id === "a" ? says : "b's"));
  of.want("a");
  of.want("b");
  await vi.advanceTimersByTimeAsync(30_000);
  expect([asked, of.known.get().get("b")]).toEqual([["a", "b"], "b's"]);
  says = "a's";
  await vi.advanceTimersByTimeAsync(40_000);
  expect([asked.length, of.known.get().get("a")]).toEqual([3, "a's"]);
});

/** Guards: a page that is paused, or that nobody sees, asks nothing; it goes on afterwards. */
test("nothing is asked while the page rests", async () => {
  let isResting = true;
  const { titles: of, asked } = titles(() => "title", () => isResting);
  of.want("a");
  await vi.advanceTimersByTimeAsync(30_000);
  expect(asked).toEqual([]);
  isResting = false;
  await vi.advanceTimersByTimeAsync(1000);
  expect(asked).toEqual(["a"]);
});
