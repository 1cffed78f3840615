// Texts of the panel in the reader's language.
import { prefs } from "../stores/prefs";
import { en } from "./en";
import { es } from "./es";

export type Message = keyof typeof en;
/** A text, or one for a single thing and one for several. */
export type Text = string | readonly [string, string];
export type Messages = Record<Message, Text>;

export const LANGUAGES = { en: "English", es: "Español" } as const;
export type Language = keyof typeof LANGUAGES;
const MESSAGES: Record<Language, Messages> = { en, es };

export function language(): Language {
  const wanted = prefs.get().language ?? navigator.language;
  const found = wanted.slice(0, 2).toLowerCase();
  return found in MESSAGES ? (found as Language) : "en";
}

/** For numbers and times: the browser's own region where it speaks the panel's language. */
export function locale(): string {
  const spoken = language();
  return navigator.language.toLowerCase().startsWith(spoken) ? navigator.language : spoken;
}

const rules = new Map<string, Intl.PluralRules>();
const numbers = new Map<string, Intl.NumberFormat>();

function written(n: number): string {
  const region = locale();
  let format = numbers.get(region);
  if (!format) {
    format = new Intl.NumberFormat(region);
    numbers.set(region, format);
  }
  return format.format(n);
}

function isOne(n: number): boolean {
  const spoken = language();
  let rule = rules.get(spoken);
  if (!rule) {
    rule = new Intl.PluralRules(spoken);
    rules.set(spoken, rule);
  }
  return rule.select(n) === "one";
}

export function t(name: Message, params: Record<string, string | number> = {}): string {
  const text: Text = MESSAGES[language()][name];
  const form = typeof text === "string" ? text : text[isOne(Number(params["n"])) ? 0 : 1];
  return form.replace(/\{(\w+)\}/g, (whole, key: string) => {
    const value = params[key];
    if (value === undefined) return whole;
    return typeof value === "number" ? written(value) : value;
  });
}

/** Whether there is a text of this name: for names that come from outside. */
export function isMessage(name: string): name is Message {
  return Object.hasOwn(en, name);
}
