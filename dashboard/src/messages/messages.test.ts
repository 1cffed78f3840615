import { afterEach, expect, test } from "vitest";
import { prefs } from "../stores/prefs";
import { t, type Message } from ".";
import { en } from "./en";
import { es } from "./es";

afterEach(() => prefs.update((all) => ({ ...all, language: null })));

const holes = (text: string | readonly [string, string]) => [...new Set([text].flat().join(" ").match(/\{\w+\}/g) ?? [])].sort();

/** Guards: every text has its values in every language, and its forms for one and for many. */
test("the languages say the same", () => {
  for (const name of Object.keys(en) as Message[]) {
    expect({ name, holes: holes(es[name]) }).toEqual({ name, holes: holes(en[name]) });
    expect(typeof es[name]).toBe(typeof en[name]);
  }
});

/** Guards: one thing is not several. */
test("numbers choose their form", () => {
  expect(t("streams.shown", { n: 1 })).toBe("1 stream");
  expect(t("streams.shown", { n: 5000 })).toBe("5,000 streams");
  prefs.update((all) => ({ ...all, language: "es" }));
  expect(t("streams.shown", { n: 1 })).toBe("1 emisión");
});
