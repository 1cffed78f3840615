// What a person chose for this browser: never anything secret, and nothing the appliance decides.
import { Store } from "./store";

export type Theme = "system" | "light" | "dark";
export const INTERVALS_S = [1, 2, 5, 10, 30] as const;

export interface Prefs {
  theme: Theme;
  /** `null`: what the browser asks for. */
  language: string | null;
  /** Seconds between two looks at the appliance. */
  intervalS: number;
}

const KEY = "sluice.prefs";
const DEFAULTS: Prefs = { theme: "system", language: null, intervalS: 2 };

function load(): Prefs {
  try {
    const raw: unknown = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    const found = typeof raw === "object" && raw !== null ? (raw as Partial<Record<keyof Prefs, unknown>>) : {};
    const { theme, language, intervalS } = found;
    return {
      theme: theme === "light" || theme === "dark" ? theme : DEFAULTS.theme,
      language: typeof language === "string" ? language : null,
      intervalS: INTERVALS_S.find((known) => known === intervalS) ?? DEFAULTS.intervalS,
    };
  } catch {
    // Storage may be forbidden or hold anything; the panel works without.
    return DEFAULTS;
  }
}

export const prefs = new Store<Prefs>(load());

prefs.subscribe(() => {
  try {
    localStorage.setItem(KEY, JSON.stringify(prefs.get()));
  } catch {
    // The choice holds until the page is left.
  }
});

const prefersDark = typeof matchMedia === "function" ? matchMedia("(prefers-color-scheme: dark)") : null;

/** Puts the theme on the page and keeps it there. */
export function applyTheme(): void {
  const apply = () => {
    const { theme } = prefs.get();
    const isDark = theme === "dark" || (theme === "system" && (prefersDark?.matches ?? false));
    document.documentElement.dataset["theme"] = isDark ? "dark" : "light";
  };
  apply();
  prefs.subscribe(apply);
  prefersDark?.addEventListener("change", apply);
}
