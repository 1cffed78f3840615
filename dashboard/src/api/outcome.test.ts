import { expect, test } from "vitest";
import { failure, mapped, success } from "./outcome";

/** Guards: an answer of another shape is an outcome with a reason, never an exception. */
test("a reader that fails makes the call fail", () => {
  const outcome = mapped(success(1), () => {
    throw new Error("no list");
  });
  expect(outcome).toEqual(failure({ kind: "broken", message: "no list" }));
});
