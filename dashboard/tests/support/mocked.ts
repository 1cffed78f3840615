// The built mock in a browser, for all tests of one file.
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll } from "vitest";
import { launch, open as opened, type Opened } from "./browser";
import { serve } from "./server";

export interface Mocked {
  /** The address of a page in a scene. */
  at: (path: string, scene?: string) => string;
  /** A page in a context of its own, and everything it complained about. */
  open: (url: string, options?: BrowserContextOptions) => Promise<Opened>;
}

/** Starts a browser and a server of the mock before the tests of a file, and ends them after those. */
export function mocked(): Mocked {
  let browser: Browser;
  let site: Awaited<ReturnType<typeof serve>>;
  beforeAll(async () => {
    browser = await launch();
    site = await serve(new URL("../../dist/mock", import.meta.url).pathname);
  });
  afterAll(async () => {
    await browser?.close();
    await site?.close();
  });
  return {
    at: (path, scene = "small") => `${site.url}${path}${path.includes("?") ? "&" : "?"}scene=${scene}`,
    open: (url, options) => opened(browser, url, options),
  };
}

/** What a fact of a page says, by the fact's name. */
export const fact = (page: Page, name: string) => page.locator(".fact", { has: page.locator("dt", { hasText: new RegExp(`^${name}$`) }) }).locator("dd");

/** Waits for a notice on top of the page. */
export const told = (page: Page, text: string) => page.locator(".toasts").getByText(text).first().waitFor();
