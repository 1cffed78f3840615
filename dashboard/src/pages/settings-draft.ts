// Settings as they are typed: texts until they are saved, each beside what held when typing began.
import type { Group, Setting, Value } from "../api/settings";
import { Draft } from "../stores/draft";

export interface Typed {
  text: string;
  /** What held when it was typed, so that somebody else's change is noticed. */
  base: Value;
}

export type Drafts = Record<string, Typed>;

const isDrafts = (value: unknown): value is Drafts =>
  typeof value === "object" && value !== null && !Array.isArray(value) && Object.values(value).every((one) => typeof (one as Typed | null)?.text === "string" && "base" in (one as Typed));

const NONE: Drafts = {};
export const drafts = new Draft<Drafts>("sluice.settings", NONE, isDrafts);

export const keyOf = (setting: Setting): string => `${setting.group}.${setting.name}`;
export const textOf = (value: Value): string => String(value);

/** Changes what is typed for a setting; what is there already is no change. */
export function type(setting: Setting, text: string): void {
  drafts.update((all) => {
    const { [keyOf(setting)]: before, ...others } = all;
    if (text === textOf(setting.value)) return Object.keys(others).length === 0 ? NONE : others;
    return { ...others, [keyOf(setting)]: { text, base: before?.base ?? setting.value } };
  });
}

export type Fault = { why: "empty" | "number" | "whole" | "least" | "most"; bound?: number };

/** What a text means, or why it means nothing: nothing is made up for a field that is empty. */
export function valueOf(setting: Setting, text: string): { value: Value } | { fault: Fault } {
  if (setting.kind === "boolean") return { value: text === "true" };
  if (setting.kind === "choice" || setting.kind === "text") return { value: text };
  const trimmed = text.trim().replace(",", ".");
  if (trimmed === "") return { fault: { why: "empty" } };
  if (!/^-?\d+(\.\d+)?$/.test(trimmed)) return { fault: { why: "number" } };
  const value = Number(trimmed);
  if (setting.kind === "integer" && !Number.isInteger(value)) return { fault: { why: "whole" } };
  if (setting.min !== null && value < setting.min) return { fault: { why: "least", bound: setting.min } };
  if (setting.max !== null && value > setting.max) return { fault: { why: "most", bound: setting.max } };
  return { value };
}

export interface Change {
  setting: Setting;
  text: string;
  value: Value | null;
  fault: Fault | null;
  /** Whether it is another value than when typing began. */
  isConflict: boolean;
}

export function changesOf(settings: readonly Setting[], typed: Drafts): Change[] {
  return settings.flatMap((setting) => {
    const one = typed[keyOf(setting)];
    if (!one) return [];
    const meant = valueOf(setting, one.text);
    const isFault = "fault" in meant;
    return [{ setting, text: one.text, value: isFault ? null : meant.value, fault: isFault ? meant.fault : null, isConflict: one.base !== setting.value }];
  });
}

/** What is sent: by group, so that each is taken as a whole. */
export function byGroup(changes: readonly Change[], all: readonly Setting[]): Map<Group, Record<string, Value>> {
  const groups = new Map<Group, Record<string, Value>>();
  for (const { setting, value } of changes) {
    if (value === null) continue;
    groups.set(setting.group, { ...groups.get(setting.group), [setting.name]: value });
  }
  const loops = groups.get("loop_detection");
  // Its route wants these two always.
  if (loops) for (const setting of all) if (setting.group === "loop_detection" && (setting.name === "enabled" || setting.name === "threshold_seconds")) loops[setting.name] ??= setting.value;
  return groups;
}
