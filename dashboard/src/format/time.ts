// Times in the reader's own zone and words.
import { locale } from "../messages";
import { UNKNOWN } from "./units";

const clock: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", second: "2-digit" };

/** The time of day; with the date when it is not today's. */
export function moment(at: number | null): string {
  if (at === null) return UNKNOWN;
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(locale(), isToday ? clock : { ...clock, day: "numeric", month: "short" });
}

/** Everything about a moment, for titles. */
export function exact(at: number | null): string {
  if (at === null) return UNKNOWN;
  return new Date(at).toLocaleString(locale(), { dateStyle: "medium", timeStyle: "long" });
}
