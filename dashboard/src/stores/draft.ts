// What was typed and not saved yet: kept while the tab is open, on whatever page, and over a reload. Never a secret.
import { Store } from "./store";

export class Draft<T> extends Store<T> {
  constructor(
    key: string,
    private readonly empty: T,
    isRight: (value: unknown) => value is T,
    /** What of it may be kept. */
    kept: (value: T) => T = (value) => value,
  ) {
    super(load(key, empty, isRight));
    this.subscribe(() => {
      try {
        if (this.get() === this.empty) sessionStorage.removeItem(key);
        else sessionStorage.setItem(key, JSON.stringify(kept(this.get())));
      } catch {
        // It holds until the tab is closed or loaded anew.
      }
    });
  }

  clear = (): void => this.set(this.empty);
}

function load<T>(key: string, empty: T, isRight: (value: unknown) => value is T): T {
  try {
    const found: unknown = JSON.parse(sessionStorage.getItem(key) ?? "null");
    return isRight(found) ? found : empty;
  } catch {
    return empty;
  }
}
