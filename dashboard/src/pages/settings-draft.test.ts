import { afterEach, expect, test } from "vitest";
import type { Setting } from "../api/settings";
import { byGroup, changesOf, drafts, type, valueOf } from "./settings-draft";

const setting = (part: Partial<Setting>): Setting => ({ group: "proxy", name: "a", value: 5, source: "default", default: 5, kind: "integer", min: 1, max: 9, choices: [], acts: true, variables: [], ...part });

afterEach(() => drafts.clear());

/** Guards: a text is what it says or a fault with its reason; an empty field is never 0 and 1.5 is never 1. */
test("texts are taken as they are typed", () => {
  const why = (text: string, part: Partial<Setting> = {}) => {
    const meant = valueOf(setting(part), text);
    return "fault" in meant ? meant.fault.why : meant.value;
  };
  expect(["", "x", "1.5", "0", "10", " 7 "].map((text) => why(text))).toEqual(["empty", "number", "whole", "least", "most", 7]);
  expect(why("1,5", { kind: "number" })).toBe(1.5);
  expect(why("99999", { max: null })).toBe(99999);
});

/** Guards: what is typed back is no change, what another person changed meanwhile is a conflict, and a fault is not sent. */
test("changes are told apart", () => {
  const one = setting({});
  type(one, "7");
  type(one, "5");
  expect(drafts.get()).toEqual({});
  type(one, "8");
  const now = [setting({ value: 6 }), setting({ name: "b" })];
  expect(changesOf(now, drafts.get())).toMatchObject([{ value: 8, isConflict: true }]);
  type(now[1] as Setting, "x");
  const changes = changesOf(now, drafts.get());
  expect(changes.map(({ value }) => value)).toEqual([8, null]);
  expect([...byGroup(changes, now)]).toEqual([["proxy", { a: 8 }]]);
});

/** Guards: loop detection is sent with what its route asks for. */
test("loop detection is sent whole", () => {
  const loop = (name: string, value: Setting["value"]) => setting({ group: "loop_detection", name, value, min: 0, max: null });
  const all = [loop("enabled", true), loop("threshold_seconds", 3600), loop("retention_minutes", 0)];
  type(all[2] as Setting, "30");
  expect([...byGroup(changesOf(all, drafts.get()), all)]).toEqual([["loop_detection", { retention_minutes: 30, enabled: true, threshold_seconds: 3600 }]]);
});
