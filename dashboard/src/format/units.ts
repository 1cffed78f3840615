// Numbers as people read them. `–` is what is not known.
import { locale } from "../messages";

export const UNKNOWN = "–";

const formats = new Map<string, Intl.NumberFormat>();

function numberFormat(digits: number): Intl.NumberFormat {
  const key = `${locale()}/${digits}`;
  let format = formats.get(key);
  if (!format) {
    format = new Intl.NumberFormat(locale(), { maximumFractionDigits: digits, minimumFractionDigits: digits });
    formats.set(key, format);
  }
  return format;
}

export function decimal(value: number, digits: number): string {
  return numberFormat(digits).format(value);
}

export function count(value: number | null): string {
  return value === null ? UNKNOWN : decimal(value, 0);
}

/** Three digits that matter. */
function scaled(value: number): string {
  return decimal(value, value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2);
}

/** A rate, always in Mbit/s up to a thousand of them. */
export function bitrate(bits: number | null): string {
  const [value, unit] = bitrateParts(bits);
  return unit ? `${value} ${unit}` : value;
}

export function bitrateParts(bits: number | null): [string, string] {
  if (bits === null) return [UNKNOWN, ""];
  const mega = bits / 1e6;
  if (mega >= 1000) return [scaled(mega / 1000), "Gbit/s"];
  return [mega === 0 ? "0" : scaled(mega), "Mbit/s"];
}

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

export function bytes(value: number | null): string {
  if (value === null) return UNKNOWN;
  let rest = value;
  let at = 0;
  while (rest >= 1024 && at < SIZES.length - 1) {
    rest /= 1024;
    at += 1;
  }
  return `${at === 0 ? decimal(rest, 0) : scaled(rest)} ${SIZES[at]}`;
}

/** A length of time, milliseconds below a second. */
export function span(seconds: number | null): string {
  if (seconds === null) return UNKNOWN;
  if (!Number.isFinite(seconds)) return "> 60 s";
  if (seconds < 0.00095) return "< 1 ms";
  if (seconds < 0.9995) return `${decimal(seconds * 1000, seconds < 0.00995 ? 1 : 0)} ms`;
  if (seconds < 99.95) return `${decimal(seconds, 1)} s`;
  return `${decimal(seconds, 0)} s`;
}

/** What a length of time is at most. One that is told as a bound already stays as it is: `< 1 ms`, `> 60 s`. */
export function atMost(seconds: number | null): string {
  const told = span(seconds);
  return /^\d/.test(told) ? `≤ ${told}` : told;
}

/** How long something has lasted: the two units that matter. */
export function duration(milliseconds: number | null): string {
  if (milliseconds === null) return UNKNOWN;
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const days = Math.floor(seconds / 86400);
  const hours = Math.floor((seconds % 86400) / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  if (minutes > 0) return minutes < 10 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  return `${seconds} s`;
}
