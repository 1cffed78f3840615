import { expect, test } from "vitest";
import type { Variant } from "../api/variant";
import { en } from "../messages/en";
import { differences, KNOWN, knownOf, parameterOf, sizeOf, sizeText, typedOf } from "./variant-table";

/** Guards: all 35 parameters are there once, each with its help. */
test("every parameter is known", () => {
  expect(new Set(KNOWN.map(({ name }) => name)).size).toBe(35);
  const missing = KNOWN.filter(({ name }) => !(`param.${name.slice(2)}` in en));
  expect(missing).toEqual([]);
  expect(knownOf({ name: "--new", type: "int" })).toMatchObject({ section: "other", type: "int", default: 0 });
});

/** Guards: sizes are taken in the unit they are typed in and shown in the one that is exact; half a unit is no loss. */
test("sizes keep their value", () => {
  for (const bytes of [0, 1, 1024, 1536, 268435456, 1610612736, 2147483648]) expect(sizeOf(sizeText(bytes))).toBe(bytes);
  expect([sizeOf("1.5 GiB"), sizeOf("1,5g"), sizeOf("512m"), sizeOf("7")]).toEqual([1610612736, 1610612736, 536870912, 7]);
  expect([sizeOf(""), sizeOf("x"), sizeOf("0.3"), sizeOf("-1"), sizeOf("1 TiB")]).toEqual([null, null, null, null, null]);
});

/** Guards: an empty number is no zero, spaces would be other arguments, and what is not passed on is not judged. */
test("what is typed is a parameter or a fault", () => {
  const of = (type: string, text: string, enabled = true, platform = "amd64") => parameterOf("--x", { type, text, enabled }, platform);
  expect([of("int", ""), of("int", "1.5"), of("bytes", "much"), of("string", "a b"), of("path", "")]).toEqual(["empty", "whole", "size", "space", "empty"]);
  expect(of("string", "a b", true, "arm64")).toMatchObject({ value: "a b" });
  expect(of("int", "", false)).toMatchObject({ enabled: false });
  expect(of("flag", "", true)).toEqual({ name: "--x", type: "flag", value: true, enabled: true });
  expect(typedOf({ name: "--x", type: "flag", value: false, enabled: true }).enabled).toBe(false);
});

/** Guards: only what engines get otherwise is a difference. */
test("differences are what engines get", () => {
  const variant = (parameters: Variant["parameters"], part: Partial<Variant> = {}): Variant => ({ enabled: true, platform: "amd64", armVersion: "3.2.13", memoryLimit: "", parameters, isMounted: false, hostPath: "", containerPath: "/x", ...part });
  const int = (name: string, value: number, enabled = true) => ({ name, type: "int", value, enabled });
  const before = variant([int("--a", 1), int("--b", 2, false), int("--gone", 3)]);
  const after = variant([int("--a", 5), int("--b", 9, false), int("--new", 4)], { memoryLimit: "1g", armVersion: "3.2.14", containerPath: "/y" });
  expect(differences(before, after)).toEqual([
    { name: "memory_limit", before: null, after: "1g" },
    { name: "--a", before: "1", after: "5" },
    { name: "--gone", before: "3", after: null },
    { name: "--new", before: null, after: "4" },
  ]);
});
