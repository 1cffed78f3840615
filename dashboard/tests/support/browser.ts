// The one place where a browser is started: Debian's Chromium, without a screen and without a word to the outside.
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";
import { expect } from "vitest";

const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--autoplay-policy=no-user-gesture-required"];

export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium", headless: true, args: ARGUMENTS });
}

export interface Opened {
  page: Page;
  faults: string[];
  close: () => Promise<void>;
}

/** How long anything may take that a page is waited for: the machine is shared. */
const PATIENCE_MS = 60_000;

/** A page in a context of its own, and everything it complained about. */
export async function open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Opened> {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: "en-GB", ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => {
    // An answer that is an error is the panel's business and shown by it.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) faults.push(message.text());
  });
  const origin = new URL(url).origin;
  page.on("request", (request) => {
    const is = new URL(request.url());
    if (is.protocol.startsWith("http") && is.origin !== origin) faults.push(`a request left the appliance: ${is.href}`);
  });
  await page.goto(url);
  return { page, faults, close: () => context.close() };
}

/** Waits until something holds, generously: the machine is shared. */
export async function until(what: string, holds: () => Promise<boolean>, withinMs = PATIENCE_MS): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    expect(Date.now(), `${what}: not in time`).toBeLessThan(deadline);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
