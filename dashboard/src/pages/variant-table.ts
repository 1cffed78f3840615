// The parameters an engine is known to have: where they stand, what they default to, in what unit.
import type { Kind, Parameter, Variant } from "../api/variant";

export const SECTIONS = ["basic", "cache", "buffer", "connections", "webrtc", "advanced", "logging"] as const;
export type Section = (typeof SECTIONS)[number] | "other";

export interface Known {
  name: string;
  section: Section;
  type: Kind;
  default: string | number | boolean;
  /** Whether it is passed to engines when nobody decides. */
  isOn: boolean;
  unit?: "s" | "kbps" | "bytes";
  /** What there is to choose from. */
  choices?: readonly (string | number)[];
  isSecret?: boolean;
}

const flag = (section: Section, name: string, isOn: boolean): Known => ({ name, section, type: "flag", default: isOn, isOn });
const int = (section: Section, name: string, value: number, isOn: boolean, unit?: "s" | "kbps"): Known => ({ name, section, type: "int", default: value, isOn, ...(unit ? { unit } : {}) });
const yes = (section: Section, name: string, value: number, isOn: boolean): Known => ({ name, section, type: "int", default: value, isOn, choices: [0, 1] });
const size = (section: Section, name: string, value: number): Known => ({ name, section, type: "bytes", default: value, isOn: true, unit: "bytes" });
const PLACES = ["memory", "disk", "hybrid"] as const;

export const KNOWN: readonly Known[] = [
  flag("basic", "--client-console", true),
  flag("basic", "--bind-all", true),
  flag("basic", "--service-remote-access", false),
  { name: "--access-token", section: "basic", type: "string", default: "", isOn: false, isSecret: true },
  { name: "--service-access-token", section: "basic", type: "string", default: "", isOn: false, isSecret: true },
  flag("basic", "--allow-user-config", false),
  { name: "--cache-dir", section: "cache", type: "path", default: "~/.ACEStream", isOn: false },
  { name: "--live-cache-type", section: "cache", type: "string", default: "memory", isOn: true, choices: PLACES },
  size("cache", "--live-cache-size", 268435456),
  { name: "--vod-cache-type", section: "cache", type: "string", default: "disk", isOn: true, choices: PLACES },
  size("cache", "--vod-cache-size", 536870912),
  int("cache", "--vod-drop-max-age", 0, false, "s"),
  size("cache", "--max-file-size", 2147483648),
  int("buffer", "--live-buffer", 10, true, "s"),
  int("buffer", "--vod-buffer", 5, true, "s"),
  int("buffer", "--refill-buffer-interval", 5, true, "s"),
  int("connections", "--max-connections", 200, true),
  int("connections", "--max-peers", 40, true),
  int("connections", "--max-upload-slots", 4, true),
  yes("connections", "--auto-slots", 1, true),
  int("connections", "--download-limit", 0, false, "kbps"),
  int("connections", "--upload-limit", 0, false, "kbps"),
  int("connections", "--port", 8621, false),
  yes("webrtc", "--webrtc-allow-outgoing-connections", 0, false),
  yes("webrtc", "--webrtc-allow-incoming-connections", 0, false),
  int("advanced", "--stats-report-interval", 60, true, "s"),
  flag("advanced", "--stats-report-peers", false),
  yes("advanced", "--slots-manager-use-cpu-limit", 0, false),
  yes("advanced", "--core-skip-have-before-playback-pos", 0, false),
  int("advanced", "--core-dlr-periodic-check-interval", 10, true, "s"),
  int("advanced", "--check-live-pos-interval", 10, true, "s"),
  { name: "--log-debug", section: "logging", type: "int", default: 0, isOn: false, choices: [0, 1, 2] },
  { name: "--log-file", section: "logging", type: "path", default: "", isOn: false },
  size("logging", "--log-max-size", 10485760),
  int("logging", "--log-backup-count", 3, true),
];

const BY_NAME = new Map(KNOWN.map((known) => [known.name, known]));

/** What is known of a parameter; one of a later engine is a text, a number or a flag like any other. */
export function knownOf(parameter: { name: string; type: string }): Known {
  const type = (["flag", "string", "int", "bytes", "path"] as const).find((kind) => kind === parameter.type) ?? "string";
  return BY_NAME.get(parameter.name) ?? { name: parameter.name, section: "other", type, default: type === "flag" ? false : type === "int" || type === "bytes" ? 0 : "", isOn: false, ...(type === "bytes" ? { unit: "bytes" as const } : {}) };
}

const UNITS: [string, number][] = [["GiB", 1024 ** 3], ["MiB", 1024 ** 2], ["KiB", 1024]];

/** Bytes in the largest unit that is exact. */
export function sizeText(bytes: number): string {
  const unit = UNITS.find(([, factor]) => bytes > 0 && bytes % factor === 0);
  return unit ? `${bytes / unit[1]} ${unit[0]}` : String(bytes);
}

/** `1.5 GiB`, `512m`, `1024`; `null` for anything else, and for what is no whole number of bytes. */
export function sizeOf(text: string): number | null {
  const match = /^(\d+(?:[.,]\d+)?)\s*(?:([kmg])(?:i?b)?|b)?$/i.exec(text.trim());
  if (!match) return null;
  const factor = { k: 1024, m: 1024 ** 2, g: 1024 ** 3 }[(match[2] ?? "").toLowerCase()] ?? 1;
  const bytes = Number((match[1] ?? "").replace(",", ".")) * factor;
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** A parameter as it is typed. */
export interface Typed {
  type: string;
  text: string;
  enabled: boolean;
}

export function typedOf({ type, value, enabled }: Parameter): Typed {
  return { type, text: type === "bytes" && typeof value === "number" ? sizeText(value) : String(value), enabled: type === "flag" ? enabled && value === true : enabled };
}

export type Fault = "whole" | "size" | "space" | "empty";

/** What is typed as a parameter, or why it is none. What is not passed on may be anything. */
export function parameterOf(name: string, { type, text, enabled }: Typed, platform: string): Parameter | Fault {
  if (type === "flag") return { name, type, value: enabled, enabled };
  if (type === "int") {
    const trimmed = text.trim();
    if (/^-?\d+$/.test(trimmed)) return { name, type, value: Number(trimmed), enabled };
    return enabled ? (trimmed === "" ? "empty" : "whole") : { name, type, value: 0, enabled };
  }
  if (type === "bytes") {
    const value = sizeOf(text);
    if (value !== null) return { name, type, value, enabled };
    return enabled ? (text.trim() === "" ? "empty" : "size") : { name, type, value: 0, enabled };
  }
  if (enabled && text === "") return "empty";
  // There all arguments are one text that is split at spaces.
  if (enabled && platform === "amd64" && /\s/.test(text)) return "space";
  return { name, type, value: text, enabled };
}

/** One difference between two configurations, each side as a person reads it. */
export interface Difference {
  name: string;
  before: string | null;
  after: string | null;
}

const argument = (parameter: Parameter | undefined): string | null => {
  if (!parameter?.enabled || (parameter.type === "flag" && parameter.value !== true)) return null;
  return parameter.type === "flag" ? "" : typedOf(parameter).text;
};

/** What engines made of `after` get otherwise than those made of `before`. */
export function differences(before: Variant, after: Variant): Difference[] {
  const found: Difference[] = [];
  const add = (name: string, one: string | null, other: string | null) => {
    if (one !== other) found.push({ name, before: one, after: other });
  };
  add("enabled", String(before.enabled), String(after.enabled));
  add("platform", before.platform, after.platform);
  if (after.platform !== "amd64") add("arm_version", before.armVersion, after.armVersion);
  add("memory_limit", before.memoryLimit || null, after.memoryLimit || null);
  const mount = (variant: Variant) => (variant.isMounted ? `${variant.hostPath} → ${variant.containerPath}` : null);
  add("mount", mount(before), mount(after));
  const one = new Map(before.parameters.map((parameter) => [parameter.name, parameter]));
  const other = new Map(after.parameters.map((parameter) => [parameter.name, parameter]));
  for (const name of new Set([...one.keys(), ...other.keys()])) add(name, argument(one.get(name)), argument(other.get(name)));
  return found;
}
