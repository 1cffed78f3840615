// Times in the reader's own zone and words.
import { locale } from "../messages";
import { UNKNOWN } from "./units";

/** Made once for each language: making one takes longer than drawing a row. */
const formats = new Map<string, Intl.DateTimeFormat>();

function format(name: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${locale()}/${name}`;
  let found = formats.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat(locale(), options);
    formats.set(key, found);
  }
  return found;
}

const clock: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", second: "2-digit" };

/** The time of day; with the date when it is not today's. */
export function moment(at: number | null): string {
  if (at === null) return UNKNOWN;
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? format("clock", clock).format(date) : format("day", { ...clock, day: "numeric", month: "short" }).format(date);
}

/** Everything about a moment, for titles. */
export function exact(at: number | null): string {
  if (at === null) return UNKNOWN;
  return format("exact", { dateStyle: "medium", timeStyle: "long" }).format(at);
}
