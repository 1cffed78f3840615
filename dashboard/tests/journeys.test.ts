// Somebody who has never seen the panel and is given only its address, on the real binary.
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { start, type Appliance } from "./support/appliance";
import { launch, open, until } from "./support/browser";
import { player } from "./support/player";

let browser: Browser;
let appliance: Appliance;

beforeAll(async () => {
  [browser, appliance] = await Promise.all([launch(), start({ WARM_CHANNELS: "0", JOIN_BEHIND_S: "6" })]);
});

afterAll(async () => {
  await browser?.close();
  await appliance?.stop();
});

const go = (page: Page, name: string) => page.getByLabel("Pages").getByRole("link", { name, exact: true }).click();
/** Guards: journey: a channel is started by pasting what one has and watched in the page, and is then in the list as what it is. */
test("starts a channel and watches it", async () => {
  const id = appliance.ids[1] ?? "";
  const { page, faults, close } = await open(browser, appliance.url);
  await go(page, "Watch");
  await page.getByRole("textbox").fill(`acestream://${id}`);
  await page.getByRole("button", { name: "Play" }).click();
  await until("the picture moves", () => page.evaluate(() => (document.querySelector("video")?.currentTime ?? 0) > 0.5 && (document.querySelector("video")?.videoWidth ?? 0) > 0));
  await page.locator(".watch-side").getByText("Playing").waitFor();
  await page.locator(".watch-side").getByRole("link", { name: "1 player" }).click();
  await page.getByRole("heading", { name: "Facts" }).waitFor();
  await page.locator(".facts").getByText(id).waitFor();
  expect(faults).toEqual([]);
  await close();
});

/** Guards: journey: the join distance is found by its name, changed for players that come from now on, and undone. */
test("changes the join distance and undoes it", async () => {
  const { page, faults, close } = await open(browser, appliance.url);
  const held = async () => ((await (await fetch(`${appliance.url}proxy/config`)).json()) as { join_behind_s: number }).join_behind_s;
  await go(page, "Settings");
  await page.getByRole("searchbox").fill("join");
  expect(await page.getByLabel("Join distance").inputValue()).toBe("6");
  await page.getByLabel("Join distance").fill("1");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.locator(".setting", { hasText: "Join distance" }).getByText("changed here").waitFor();
  expect(await held()).toBe(1);
  await page.getByRole("button", { name: "Undo" }).click();
  await until("it is as it was", async () => (await held()) === 6 && (await page.getByLabel("Join distance").inputValue()) === "6");
  expect(faults).toEqual([]);
  await close();
});

/** Guards: journey: who is behind, and how far, is found on the stream's page: on top of its players, and in the picture of its window. */
test("finds who is behind", async () => {
  const id = appliance.ids[0] ?? "";
  const [near, far] = [player(appliance.url, id, "mpv 0.39.0"), player(appliance.url, id, "Kodi/21.1 (stuck)", true)];
  const { page, faults, close } = await open(browser, appliance.url);
  try {
    await go(page, "Streams");
    const row = page.locator(".table-body .table-row", { hasText: id.slice(0, 8) });
    await row.getByText("Playing").waitFor();
    await row.click();
    const players = page.getByRole("table", { name: "Players" });
    const top = players.locator(".table-body .table-row").first();
    await until("somebody is behind", async () => /[2-9][.,]\d s|\d\d[.,]\d s/.test((await top.textContent()) ?? ""));
    expect(await top.textContent()).toContain("Kodi");
    expect(await players.getByRole("columnheader", { name: "Behind" }).getAttribute("aria-sort")).toBe("descending");
    await until("both are drawn", async () => (await page.locator(".timeline-player").count()) === 2);
    expect(faults).toEqual([]);
  } finally {
    near.leave();
    far.leave();
    await close();
  }
});

/** Guards: journey: stopping says who is cut; afterwards it is found that the stream ended and why, by whom it was watched, and when. */
test("finds why a stream ended", async () => {
  const id = appliance.ids[0] ?? "";
  const watching = player(appliance.url, id);
  const { page, faults, close } = await open(browser, appliance.url);
  try {
    await go(page, "Streams");
    const row = page.locator(".table-body .table-row", { hasText: id.slice(0, 8) });
    await row.getByText("Playing").waitFor();
    await until("it is watched", async () => watching.bytes() > 0);
    await row.click();
    await page.getByRole("table", { name: "Players" }).locator(".table-body .table-row").first().waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText(/This cuts (one player|\d+ players)/).waitFor();
    await dialog.getByRole("button", { name: "Stop" }).click();
    await until("its player is cut", async () => !watching.isPlaying());
    await go(page, "Streams");
    await page.getByRole("button", { name: /^Ended [1-9]/ }).click();
    const ended = page.locator("tbody tr", { hasText: id.slice(0, 8) });
    await ended.getByText("Stopped by the operator").waitFor();
    await ended.getByRole("link").first().click();
    await page.getByRole("heading", { name: "What happened" }).waitFor();
    await page.getByRole("heading", { name: "Left a short while ago" }).waitFor();
    await page.getByText("VLC/3.0.21").first().waitFor();
    expect(faults).toEqual([]);
  } finally {
    watching.leave();
    await close();
  }
});
