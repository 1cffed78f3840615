// Reading fields of answers whose shape is promised but not believed: what is missing or of another kind is `null`, never a
// default that could be taken for a fact.

import { plain } from "../format/text";

export type Fields = Record<string, unknown>;

export function fields(value: unknown): Fields | null {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : null;
}

/** Fields of an answer that has to be an object. */
export function demanded(value: unknown, what: string): Fields {
  const found = fields(value);
  if (!found) throw new Error(`${what}: the answer is not an object`);
  return found;
}

export function list(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) throw new Error(`${what}: the answer has no list`);
  return value;
}

export function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

/** A text that is only shown: made harmless, because strangers may have written it. */
export function label(value: unknown): string | null {
  const found = text(value);
  return found === null ? null : plain(found);
}

export function number(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** A count; engines write -1 for "unknown". */
export function count(value: unknown): number | null {
  const found = number(value);
  return found !== null && found >= 0 ? found : null;
}

/** Engines write positions as numbers or as strings of digits. */
export function position(value: unknown): number | null {
  if (typeof value === "string" && /^\d+$/.test(value)) return Number(value);
  return count(value);
}

export function flag(value: unknown): boolean | null {
  return typeof value === "boolean" ? value : null;
}

/** Milliseconds since 1970 of an RFC 3339 time. */
export function time(value: unknown): number | null {
  const found = typeof value === "string" ? Date.parse(value) : Number.NaN;
  return Number.isNaN(found) ? null : found;
}

/** Milliseconds since 1970 of seconds since 1970. */
export function epoch(value: unknown): number | null {
  const found = count(value);
  return found === null ? null : found * 1000;
}
