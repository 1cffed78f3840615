// The pages of engines on an appliance that keeps engines in a real Docker: begun by the tests of engines in Docker, which name the
// appliance and a broadcast that somebody plays there, and look into Docker afterwards. By itself this does nothing.
import { expect, test } from "vitest";
import { launch, open, until } from "./support/browser";

const url = process.env["SLUICE_DOCKER_PANEL"] ?? "";
const id = process.env["SLUICE_DOCKER_ID"] ?? "";

/** Guards: journeys: an engine is added and seen to come up; the one that plays is looked into, drained, used again and removed; a parameter is changed, and every engine is replaced while its progress is told. All of it in the page, and on by another engine each time. */
test.runIf(url !== "")("engines in a real Docker are kept by the page", async () => {
  const browser = await launch();
  const { page, faults, close } = await open(browser, `${url}panel/`);
  const go = (name: string) => page.getByLabel("Pages").getByRole("link", { name, exact: true }).click();
  const rows = page.locator(".table-body .table-row");
  const ready = rows.filter({ hasText: "Ready" });
  const dialog = page.getByRole("dialog");

  await go("Engines");
  const fleet = page.getByRole("region", { name: "Fleet" });
  await until("the first engine is ready", async () => (await ready.count()) === 1);
  await fleet.getByText("1 to 2").waitFor();
  await fleet.getByRole("button", { name: "Add engine" }).click();
  await dialog.getByRole("button", { name: "Add engine" }).click();
  await dialog.waitFor({ state: "hidden" });
  await until("the second is ready", async () => (await ready.count()) === 2);
  await fleet.getByText("MAX_REPLICAS").waitFor();
  await rows.filter({ hasText: /\d [KM]iB/ }).first().waitFor();

  // The one that plays, by way of what it plays.
  await go("Streams");
  await rows.filter({ hasText: id.slice(0, 8) }).click();
  const engine = page.locator(".fact", { has: page.locator("dt", { hasText: /^Engine$/ }) }).getByRole("link");
  await engine.click();
  await page.getByText("% of a core").first().waitFor();
  await page.getByRole("button", { name: "Show" }).click();
  await page.locator("pre.raw", { hasText: /serving on port \d+/ }).waitFor();
  await page.getByText("1 player", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Drain" }).click();
  await dialog.getByText("One stream with 1 player moves").waitFor();
  await dialog.getByRole("button", { name: "Drain" }).click();
  await page.getByText("Nothing plays on it.").waitFor();
  await page.getByRole("button", { name: "Use again" }).click();
  await page.getByRole("button", { name: "Drain" }).waitFor();
  await page.getByRole("button", { name: "Empty and remove" }).click();
  await dialog.getByRole("button", { name: "Empty and remove" }).click();
  await page.getByText("There is no such engine").waitFor();
  await page.getByText("An engine was removed by hand").first().waitFor();

  await go("Engines");
  await until("one is left", async () => (await rows.count()) === 1);
  await page.getByRole("link", { name: "Custom variant" }).click();
  await page.getByLabel("Use the custom variant").check();
  await page.getByRole("searchbox").fill("live-buffer");
  await page.getByLabel("Pass --live-buffer to engines").check();
  await page.getByLabel("--live-buffer", { exact: true }).fill("25");
  await page.getByRole("button", { name: "Save and replace engines" }).click();
  await dialog.getByText("The one player keeps its connection").waitFor();
  await dialog.getByRole("button", { name: "Save and replace engines" }).click();
  const strip = page.getByRole("status", { name: "Engines are being replaced" });
  // Engines are up within a second here, so the page may have had no look in between; what it shows then has a test of its own.
  await strip.getByText("All engines are replaced").waitFor();
  await strip.getByText("1 of 1 started, 1 of 1 removed").waitFor();
  await go("Streams");
  await rows.filter({ hasText: id.slice(0, 8) }).getByText("Playing").waitFor();

  // Every other page, by its address, with what it shows of these engines or this stream.
  for (const [path, heading, what] of [
    ["", "Overview", /1 busy/],
    ["watch", "Watch", "Now playing"],
    ["log", "Events", "An engine was removed by hand"],
    ["metrics", "Metrics", "engines in use"],
    ["settings", "Settings", "Engines at least"],
    ["doctor", "Doctor", /engine/i],
  ] as const) {
    await page.goto(`${url}panel/${path}`);
    await page.getByRole("heading", { name: heading, exact: true, level: 1 }).waitFor();
    await until("it is live", async () => (await page.locator(".live").textContent())?.includes("Live") ?? false);
    await page.locator("main").getByText(what).first().waitFor();
  }
  expect(faults).toEqual([]);
  await close();
  await browser.close();
});
