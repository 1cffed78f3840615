// The whole panel on the mock: every page in both themes at three widths without a fault of accessibility, and what it does when
// the appliance is down, silent, hostile or huge.
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import type { Page } from "playwright-core";
import { beforeAll, describe, expect, test } from "vitest";
import { until } from "./support/browser";
import { mocked } from "./support/mocked";

const { at, open } = mocked();
let axe: string;

beforeAll(async () => {
  axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
});


/** Everything axe finds. The script is handed over by the debugger, which the page's policy does not concern. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    interface Found {
      violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[];
    }
    const found = await (globalThis as unknown as { axe: { run: () => Promise<Found> } }).axe.run();
    return found.violations.flatMap(({ id, nodes }) => nodes.slice(0, 3).map((node) => `${id}: ${node.html.slice(0, 160)} ${node.failureSummary ?? ""}`));
  });
}

const isLive = (page: Page) => until("it is live", async () => (await page.locator(".live").textContent())?.includes("Live") ?? false);

async function firstKey(page: Page): Promise<string> {
  await page.goto(at("streams"));
  const href = await page.locator(".table-body a").first().getAttribute("href");
  return (href ?? "").split("/streams/")[1] ?? "";
}

/** What reaches past its right edge: the page itself, or a table, which would hide its last columns. */
function tooWide(page: Page): Promise<string[]> {
  return page.evaluate(() =>
    [document.documentElement, ...document.querySelectorAll(".table")]
      .map((element) => ({ name: element.className || element.tagName, by: element.scrollWidth - element.clientWidth }))
      .filter(({ by }) => by > 0)
      .map(({ name, by }) => `${name} by ${by} px`),
  );
}

const WIDTHS = [390, 1024, 1920];
const THEMES = ["light", "dark"] as const;

describe("every page", () => {
  for (const theme of THEMES) {
    /** Guards: every page can be read and used by everybody, on a phone, a desk and a wall, in both themes, and never scrolls sideways. */
    test(`is accessible (${theme})`, async () => {
      const { page, faults, close } = await open(at(""), { colorScheme: theme });
      const key = await firstKey(page);
      const usual = ["", "streams", `streams/${key}`, "streams?state=ended", "watch", "engines", "engine/10.20.0.4:6878", "variant", "log", "metrics", "settings", "doctor", "nowhere"];
      for (const [path, scene] of [...usual.map((path) => [path, "small"] as const), ["", "vpn"], ["engines", "vpn"], ["streams", "empty"], ["", "never"]] as const) {
        await page.goto(at(path, scene));
        if (scene !== "never") await isLive(page);
        // Pages that carry a player or charts are loaded on demand.
        await page.locator("h1").first().waitFor();
        for (const width of WIDTHS) {
          await page.setViewportSize({ width, height: 900 });
          // What a script lays out (tables, charts) follows a frame or two later.
          await expect.poll(() => tooWide(page), { message: `/${path} (${scene}) at ${width} px`, timeout: 5_000 }).toEqual([]);
          // Each page once in each theme: as a phone shows it in the light, and as a wall shows it in the dark.
          if (width === (theme === "light" ? 390 : 1920)) expect({ path, scene, width, theme, found: await violations(page) }).toEqual({ path, scene, width, theme, found: [] });
        }
      }
      expect(faults).toEqual([]);
      await close();
    });
  }
});

/** Guards: whatever the width and the language, no column is pushed out of its table and nothing out of the page: what does not fit gives way. */
test.each(["en-GB", "es-ES"])("everything fits at every width (%s)", async (locale) => {
  const { page, close } = await open(at(""), { locale });
  const key = await firstKey(page);
  for (const path of ["streams", "engines", `streams/${key}`]) {
    await page.goto(at(path));
    await page.locator(".table-body .table-row").first().waitFor();
    for (let width = 600; width <= 1920; width += 40) {
      await page.setViewportSize({ width, height: 900 });
      await expect.poll(() => tooWide(page), { message: `/${path} at ${width} px`, timeout: 5_000, interval: 20 }).toEqual([]);
    }
  }
  await close();
});

describe("when something is wrong", () => {
  /** Guards: with the API down nothing reads 0 or in order; what was known is greyed and says its age; a retry is at hand. */
  test("an appliance that is down is not an empty one", async () => {
    const { page, close } = await open(at("", "down"));
    await page.getByRole("alert").getByText("The appliance does not answer").waitFor();
    const number = page.locator(".number").first();
    expect(await number.getAttribute("class")).toContain("stale");
    expect(Number(await number.locator(".big").textContent())).toBeGreaterThan(0);
    expect(await page.locator(".live").textContent()).toContain("Not live");
    expect(await page.getByText("Nothing is wrong").count()).toBe(0);
    expect(await violations(page)).toEqual([]);
    await close();
  });

  /** Guards: an appliance that never answered shows that nothing is known. */
  test("nothing known is nothing shown", async () => {
    const { page, close } = await open(at("", "never"));
    await page.getByRole("alert").getByText("Nothing has come yet").waitFor();
    for (const text of await page.locator(".big").allTextContents()) expect(text.trim()).toBe("–");
    await page.getByRole("link", { name: "Streams", exact: true }).click();
    await page.getByText("The list of streams has not come yet").waitFor();
    await page.getByRole("link", { name: "Engines", exact: true }).click();
    await page.getByText("The list of engines has not come yet").waitFor();
    await close();
  });

  /** Guards: one source that fails says so itself and takes nothing else along. */
  test("one failed source is one failed source", async () => {
    const { page, close } = await open(at("", "partly"));
    await page.getByRole("alert").getByText("figures: the appliance failed").waitFor();
    const numbers = await page.locator(".big").allTextContents();
    expect(numbers[0]).toBe("–");
    expect(numbers[1]).toBe("14");
    await close();
  });

  /** Guards: answers without most of their fields draw a page of dashes, not a broken one. */
  test("missing fields are dashes", async () => {
    const { page, faults, close } = await open(at("streams", "bare"));
    await page.locator(".table-body .table-row").first().waitFor();
    expect(await page.locator(".table-body .table-row").first().textContent()).toContain("–");
    await page.locator(".table-body .table-row").first().click();
    await page.getByRole("heading", { name: "Facts" }).waitFor();
    expect(faults).toEqual([]);
    await close();
  });

  /** Guards: names made by strangers are text: nothing runs, nothing turns around, nothing pushes the page apart. */
  test("hostile names are harmless", async () => {
    const { page, faults, close } = await open(at("streams", "hostile"));
    const key = await firstKey(page);
    for (const path of ["streams", `streams/${key}`, "engines", "engine/10.20.0.4:6878", "log", "watch", "doctor", ""]) {
      await page.goto(at(path, "hostile"));
      await isLive(page);
      await until("the page has its content", async () => (await page.locator("main").innerText()).length > 100);
      expect(await page.title()).not.toBe("owned");
      expect(/[\u202a-\u202e]/.test(await page.locator("main").innerText())).toBe(false);
      expect(await page.evaluate(() => Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth))).toBe(0);
      expect(await page.locator("main script, main img").count()).toBe(0);
    }
    expect(faults).toEqual([]);
    await close();
  });

  /** Guards: a write that fails leaves a message that stays, with the reason; want of the key asks for it, and then it works. */
  test("a refused write says so", async () => {
    const { page, close } = await open(at("streams", "locked"));
    await page.locator(".table-body .table-row").first().getByRole("button", { name: /^Stop/ }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Stop" }).click();
    await page.getByRole("status").getByText("the API key is needed").waitFor();
    expect(await page.locator(".badge").textContent()).toBe("1");
    const dialog = page.getByRole("dialog", { name: "Sign in with the API key" });
    await dialog.getByLabel("API key").fill("wrong");
    await dialog.getByRole("button", { name: "Sign in" }).click();
    await dialog.getByText("the API key is wrong").waitFor();
    await dialog.getByLabel("API key").fill("key");
    await dialog.getByRole("button", { name: "Sign in" }).click();
    await dialog.waitFor({ state: "hidden" });
    await page.locator(".table-body .table-row").first().getByRole("button", { name: /^Stop/ }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Stop" }).click();
    await page.getByRole("status").getByText("is stopped").waitFor();
    await close();
  });
});

describe("an operator", () => {
  /** Guards: parity 23: what a stop cuts is said before, each stream has its result, and the ended one is found with its players' reasons. */
  test("stops streams and finds them ended", async () => {
    const { page, close } = await open(at("streams"));
    const row = page.locator(".table-body .table-row").first();
    await row.waitFor();
    await row.getByRole("checkbox").check();
    await page.getByRole("region", { name: "1 selected" }).getByRole("button", { name: "Stop" }).click();
    const dialog = page.getByRole("dialog");
    expect(await dialog.textContent()).toMatch(/This cuts \d+ players/);
    await dialog.getByRole("button", { name: "Stop" }).click();
    await page.getByRole("status").getByText("is stopped").waitFor();
    await page.getByRole("button", { name: /^Ended [1-9]/ }).click();
    await page.locator("tbody a").first().click();
    await page.getByText("Stopped by the operator").first().waitFor();
    await close();
  });

  /** Guards: parity 23: all that is found is stopped together, after one question that names what is cut, and each has its result in the list of notices. */
  test("stops all of them at once", async () => {
    const { page, close } = await open(at("streams?state=playing"));
    await page.getByRole("checkbox", { name: "Select all that are shown" }).check();
    const n = await page.locator(".table-body .table-row").count();
    expect(n).toBeGreaterThan(5);
    await page.getByRole("region", { name: `${n} selected` }).getByRole("button", { name: "Stop" }).click();
    const dialog = page.getByRole("dialog");
    expect(await dialog.textContent()).toMatch(new RegExp(`Stop ${n} streams.*This cuts \\d\\d+ players`));
    await dialog.getByRole("button", { name: "Stop" }).click();
    await dialog.waitFor({ state: "hidden" });
    await page.getByRole("button", { name: /^Notices/ }).click();
    expect(await page.getByRole("dialog", { name: "Notices" }).getByText(/[0-9a-f]{8}….* is stopped/).count()).toBe(n);
    await page.getByText("No stream is like that").waitFor();
    await close();
  });

  /** Guards: a stream can be moved to an engine of one's choice, and the page follows it there. */
  test("moves a stream", async () => {
    const { page, close } = await open(at("streams?state=playing"));
    await page.locator(".table-body .table-row").first().click();
    await page.getByRole("button", { name: "Move" }).click();
    const options = page.getByRole("dialog").locator("option");
    const target = (await options.nth(1).getAttribute("value")) ?? "";
    await page.getByRole("dialog").getByRole("combobox").selectOption(target);
    await page.getByRole("dialog").getByRole("button", { name: "Move" }).click();
    await page.locator(".facts").getByText(target).waitFor();
    await close();
  });

  /** Guards: search, filter and order are in the address and survive a reload; the keyboard goes through rows. */
  test("finds a stream by keyboard and keeps the view", async () => {
    const { page, close } = await open(at("streams"));
    await page.locator(".table-body .table-row").first().waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("hevc");
    await page.getByRole("columnheader", { name: "Bitrate" }).getByRole("button").click();
    await until("the address has it", () => Promise.resolve(page.url().includes("q=hevc") && page.url().includes("sort=bitrate-")));
    await page.reload();
    await page.locator(".table-body .table-row").first().waitFor();
    expect(await page.getByRole("searchbox").inputValue()).toBe("hevc");
    expect(await page.getByRole("columnheader", { name: "Bitrate" }).getAttribute("aria-sort")).toBe("descending");
    await page.locator(".table-body .table-row").first().focus();
    await page.keyboard.press("ArrowDown");
    await until("the second row has the focus", async () => (await page.evaluate(() => document.activeElement?.getAttribute("data-index"))) === "1");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Facts" }).waitFor();
    await close();
  });

  /** Guards: theme and language are chosen and kept; every text is there in both languages. */
  test("chooses theme and language", async () => {
    const { page, close } = await open(at(""));
    await page.getByRole("button", { name: "View" }).click();
    await page.getByLabel("Theme").selectOption("dark");
    await page.getByLabel("Language").selectOption("es");
    await page.getByRole("heading", { name: "Resumen" }).waitFor();
    await page.reload();
    await page.getByRole("heading", { name: "Resumen" }).waitFor();
    expect(await page.evaluate(() => [document.documentElement.lang, document.documentElement.dataset["theme"]])).toEqual(["es", "dark"]);
    await close();
  });

  /** Guards: 5,000 streams are a list of a few dozen rows, however far it is scrolled, and one draw of it is cheap. */
  test("scrolls through 5,000 streams", async () => {
    const { page, faults, close } = await open(at("streams", "busy"));
    await page.locator(".table-body .table-row").first().waitFor();
    expect(Number(await page.getByRole("table").getAttribute("aria-rowcount"))).toBeGreaterThan(4800);
    for (const share of [0.3, 0.6, 1, 0.1]) {
      await page.evaluate((to) => window.scrollTo(0, document.documentElement.scrollHeight * to), share);
      await until("rows are drawn where one looks", () =>
        page.evaluate(() => [...document.querySelectorAll(".table-body .table-row")].some((row) => { const { top } = row.getBoundingClientRect(); return top > 100 && top < innerHeight; })),
      );
      expect(await page.locator(".table-body .table-row").count()).toBeLessThan(80);
    }
    expect(faults).toEqual([]);
    await close();
  });
});
