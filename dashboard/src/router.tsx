// Paths below the panel, relative to the page's base, so that the panel works wherever it is mounted.
import { createContext, useContext, useMemo, useSyncExternalStore, type ComponentProps, type MouseEvent } from "react";

/** Where the panel is mounted, with a slash at the end. */
export const base = (): URL => new URL(".", document.baseURI);

const CHANGED = "sluice:navigated";
/** Asked before leaving a page with unsaved changes; answers whether to stay. */
let guard: (() => boolean) | null = null;

export function setLeaveGuard(next: (() => boolean) | null): void {
  guard = next;
}

export interface Place {
  /** Segments below the panel, decoded. */
  segments: string[];
  query: URLSearchParams;
}

function read(): string {
  return `${location.pathname}${location.search}`;
}

function subscribe(listener: () => void): () => void {
  addEventListener("popstate", listener);
  addEventListener(CHANGED, listener);
  return () => {
    removeEventListener("popstate", listener);
    removeEventListener(CHANGED, listener);
  };
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

export function usePlace(): Place {
  const root = useContext(Root);
  const address = useSyncExternalStore(subscribe, read);
  return useMemo(() => {
    const url = new URL(address, location.href);
    const below = url.pathname.startsWith(root.pathname) ? url.pathname.slice(root.pathname.length) : "";
    return { segments: below.split("/").filter(Boolean).map(decoded), query: url.searchParams };
  }, [address, root]);
}

const Root = createContext<URL>(new URL("http://localhost/"));
export const RootProvider = Root.Provider;

export function useHref(): (to: string) => string {
  const root = useContext(Root);
  return (to) => {
    const url = new URL(to, root);
    return `${url.pathname}${url.search}`;
  };
}

/** Goes to an address; `replace` leaves no trace in the browser's history. */
export function navigate(href: string, how: { replace?: boolean } = {}): void {
  const leaves = new URL(href, location.href).pathname !== location.pathname;
  if (leaves && guard?.()) return;
  if (href !== read()) {
    if (how.replace) history.replaceState(null, "", href);
    else history.pushState(null, "", href);
  }
  dispatchEvent(new Event(CHANGED));
  if (leaves) {
    window.scrollTo?.(0, 0);
    document.getElementById("main")?.focus({ preventScroll: true });
  }
}

/** A link inside the panel: a real address that is gone to without loading. */
export function Link({ to, onClick, ...rest }: ComponentProps<"a"> & { to: string }) {
  const href = useHref()(to);
  const go = (event: MouseEvent<HTMLAnchorElement>) => {
    onClick?.(event);
    const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (event.defaultPrevented || !isPlain) return;
    event.preventDefault();
    navigate(href);
  };
  return <a {...rest} href={href} onClick={go} />;
}

/** One value of the address's query, and a way to change it; an empty one is left out. */
export function useParam(name: string): [string, (value: string) => void] {
  const { query } = usePlace();
  const set = (value: string) => {
    const next = new URLSearchParams(location.search);
    if (value === "") next.delete(name);
    else next.set(name, value);
    const text = next.toString();
    navigate(`${location.pathname}${text ? `?${text}` : ""}`, { replace: true });
  };
  return [query.get(name) ?? "", set];
}
