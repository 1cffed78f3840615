// The panel as it is inside the real binary, with its simulated engines: the same origin, policy and forms as an operator gets.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { get as request, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { start, type Appliance } from "./support/appliance";
import { launch, open, until } from "./support/browser";
import { player } from "./support/player";

let browser: Browser;
let appliance: Appliance;

beforeAll(async () => {
  [browser, appliance] = await Promise.all([launch(), start()]);
});

afterAll(async () => {
  await browser?.close();
  await appliance?.stop();
});

const panel = (path = "") => `${appliance.url}panel/${path}`;

/** An answer as it is on the wire. */
async function raw(path: string, headers: Record<string, string> = {}): Promise<{ status: number; headers: IncomingHttpHeaders; bytes: number }> {
  const answer = await new Promise<IncomingMessage>((resolve, reject) => request(new URL(path, appliance.url), { headers, agent: false }, resolve).on("error", reject));
  let bytes = 0;
  for await (const chunk of answer) bytes += (chunk as Buffer).length;
  return { status: answer.statusCode ?? 0, headers: answer.headers, bytes };
}

/** Guards: the panel comes compressed, is kept by the browser, and stays within the promised size. */
test("the panel comes small and is kept", async () => {
  const home = await raw("panel/");
  expect(home.headers["content-security-policy"]).toContain("default-src 'none'");
  const html = await (await fetch(panel())).text();
  const assets = [...html.matchAll(/(?:src|href)="\.\/(assets\/[^"]+)"/g)].map((match) => match[1] ?? "");
  expect(assets.length).toBeGreaterThan(1);
  let initial = 0;
  for (const asset of assets) {
    const answer = await raw(`panel/${asset}`, { "accept-encoding": "gzip" });
    expect([answer.status, answer.headers["content-encoding"]]).toEqual([200, "gzip"]);
    expect(answer.headers["cache-control"]).toContain("immutable");
    const again = await raw(`panel/${asset}`, { "accept-encoding": "gzip", "if-none-match": answer.headers.etag ?? "" });
    expect([again.status, again.bytes]).toEqual([304, 0]);
    if (asset.endsWith(".js")) initial += answer.bytes;
  }
  expect(initial).toBeLessThanOrEqual(200 * 1024);
});

/** Guards: whoever plays is seen: the stream with its engine and rate, the player with its agent, and after it left, why. */
test("a player is seen, and why it left", async () => {
  const id = appliance.ids[0] ?? "";
  const { leave } = player(appliance.url, id);
  const { page, faults, close } = await open(browser, panel("streams"));
  const row = page.locator(".table-body .table-row").first();
  await row.getByText("Playing").waitFor();
  await until("its rate is known", async () => /Mbit\/s/.test((await row.textContent()) ?? ""));
  await row.click();
  await page.locator(".table-body").getByText("VLC/3.0.21").first().waitFor();
  await page.locator(".timeline-player").first().waitFor();
  const start = page.getByRole("list", { name: "Where the time of the start went" });
  for (const part of ["Wait for an engine", "Choice of it", "Engine's answer", "First media", "First byte to the player"]) await start.getByText(part, { exact: true }).waitFor();
  expect(await page.locator(".timeline-access").count()).toBeGreaterThan(0);
  await page.getByText(/\b0 splices/).waitFor();
  leave();
  await page.getByRole("heading", { name: "Left a short while ago" }).waitFor();
  await page.getByText("The player closed the connection").waitFor();
  expect(faults).toEqual([]);
  await close();
});

/** Guards: any stream can be watched in the page, in both forms, within its own policy. */
test.each(["", "?as=hls"])("a stream is watched in the page (%s)", async (form) => {
  const { page, faults, close } = await open(browser, panel(`watch/${appliance.ids[0]}${form}`));
  await until("the picture moves", () => page.evaluate(() => {
    const video = document.querySelector("video");
    return video !== null && video.currentTime > 0.5 && video.videoWidth > 0;
  }), 40_000);
  expect(await page.locator(".links code").first().textContent()).toContain(`/ace/getstream?id=${appliance.ids[0]}`);
  expect(faults).toEqual([]);
  await close();
});

/** Guards: the playlist that is saved is one that a player plays. */
test("a playlist is saved and mpv plays it", async () => {
  const { page, faults, close } = await open(browser, panel(`watch/${appliance.ids[0]}`));
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "M3U" }).click()]);
  expect(download.suggestedFilename()).toBe(`${appliance.ids[0]}.m3u`);
  const directory = await mkdtemp(join(tmpdir(), "sluice-m3u-"));
  const file = join(directory, download.suggestedFilename());
  await download.saveAs(file);
  await promisify(execFile)("mpv", ["--no-config", "--vo=null", "--ao=null", "--untimed", "--frames=50", file], { timeout: 40_000 });
  await rm(directory, { recursive: true });
  expect(faults).toEqual([]);
  await close();
});

/** Guards: a page is a page of its own: every view can be loaded by its address, and shows what the appliance has. */
test("every view is found by its address", async () => {
  const { page, faults, close } = await open(browser, panel());
  for (const [path, heading] of [["", "Overview"], ["streams", "Streams"], ["watch", "Watch"], ["engines", "Engines"], ["log", "Events"], ["metrics", "Metrics"], ["settings", "Settings"], ["doctor", "Doctor"]] as const) {
    await page.goto(panel(path));
    await page.getByRole("heading", { name: heading, exact: true, level: 1 }).waitFor();
    await until("it is live", async () => (await page.locator(".live").textContent())?.includes("Live") ?? false);
    expect(await page.title()).toContain(heading);
  }
  await page.goto(panel("engines"));
  await until("the demo's engines are ready", async () => (await page.getByText("Ready").count()) >= 2);
  await page.goto(appliance.url);
  expect(page.url()).toBe(panel());
  expect(faults).toEqual([]);
  await close();
});

/** Guards: an engine is drained and used again, and the appliance says so of it; figures over time are the appliance's own. */
test("an engine is drained, and there is a history", async () => {
  const { page, faults, close } = await open(browser, panel("engines"));
  await page.locator(".table-body .table-row", { hasText: "Ready" }).first().click();
  await page.getByRole("button", { name: "Drain" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Drain" }).click();
  await page.locator(".tag", { hasText: "drained" }).first().waitFor();
  const drained = async () => ((await (await fetch(`${appliance.url}engines`)).json()) as { is_drained: boolean }[]).filter((engine) => engine.is_drained).length;
  expect(await drained()).toBe(1);
  await page.getByRole("button", { name: "Use again" }).click();
  await until("it is used again", async () => (await drained()) === 0);
  await page.goto(panel("metrics"));
  await page.getByRole("img", { name: /^Players: newest/ }).waitFor();
  await page.getByText("a point every 5 s").waitFor();
  expect(faults).toEqual([]);
  await close();
});

/** Guards: an id that is none, and one nobody has, get a clear word in place. */
test("what cannot be watched says why", async () => {
  const { page, close } = await open(browser, panel("watch"));
  await page.getByRole("textbox").fill("nonsense");
  await page.getByText("40 hexadecimal digits").waitFor();
  await page.getByRole("textbox").fill(`acestream://${"0".repeat(40)}`);
  await page.getByRole("button", { name: "Play" }).click();
  await page.getByRole("alert").getByText("It does not play here").waitFor({ timeout: 40_000 });
  await close();
});

/** Guards: the key is asked for where it is needed, goes to no place a script can read, and lets changes through until signing out. */
test("signs in with the key and out again", async () => {
  const locked = await start({ API_KEY: "a-key-of-the-tests" });
  const { page, faults, close } = await open(browser, `${locked.url}panel/`);
  try {
    await page.getByRole("button", { name: "Sign in" }).click();
    const dialog = page.getByRole("dialog", { name: "Sign in with the API key" });
    await dialog.getByLabel("API key").fill("nonsense");
    await dialog.getByRole("button", { name: "Sign in" }).click();
    await dialog.getByText("the API key is wrong").waitFor();
    await dialog.getByLabel("API key").fill("a-key-of-the-tests");
    await dialog.getByRole("button", { name: "Sign in" }).click();
    await dialog.waitFor({ state: "hidden" });
    const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]));
    expect(kept).not.toContain("a-key-of-the-tests");
    expect(kept).not.toContain("sluice_");
    const write = () => page.evaluate(async (url) => (await fetch(url, { method: "POST", headers: { "X-Sluice-Panel": "1" } })).status, `${locked.url}cache/clear`);
    expect(await write()).toBe(200);
    await page.reload();
    await page.getByRole("button", { name: "View" }).click();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("button", { name: "Sign in" }).waitFor();
    expect(await write()).toBe(401);
    expect(faults).toEqual([]);
  } finally {
    await close();
    await locked.stop();
  }
});

/** Guards: one connection tells everything: nothing is asked in an interval, what happens is in the log as it happens, and a cut is said and mended. */
test("follows on one connection", async () => {
  const own = await start({ PROXY_GRACE_PERIOD: "0", WARM_CHANNELS: "0" });
  const { page, close } = await open(browser, `${own.url}panel/log`);
  try {
    const asked: string[] = [];
    page.on("request", (request) => asked.push(new URL(request.url()).pathname));
    await page.reload();
    await until("it is live", async () => (await page.locator(".live").textContent())?.includes("Live") ?? false);
    expect(asked).toContain("/events/stream");
    const { leave } = player(own.url, own.ids[0] ?? "");
    await page.getByText("The stream started").first().waitFor();
    leave();
    await page.getByText(/^The stream ended/).first().waitFor();
    expect(asked.filter((path) => ["/proxy/status", "/metrics", "/engines", "/health"].includes(path))).toEqual([]);
    await own.stop();
    await page.getByText("Not live").first().waitFor();
    await page.getByRole("alert").getByText("The appliance does not answer").waitFor();
  } finally {
    await close();
    await own.stop();
  }
});

/** Guards: the settings are the appliance's own: what they may be, where they come from, what it says to a wrong one, and that they hold. */
test("changes a setting of the appliance and takes it back", async () => {
  const { page, faults, close } = await open(browser, panel("settings?q=join"));
  const row = page.locator(".setting", { hasText: "Join distance" });
  expect(await row.textContent()).toMatch(/Default 10 s.*0 to 25/);
  await page.getByLabel("Join distance").fill("3");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await row.getByText("changed here").waitFor();
  const held = async () => ((await (await fetch(`${appliance.url}proxy/config`)).json()) as { join_behind_s: number }).join_behind_s;
  expect(await held()).toBe(3);
  await page.getByRole("button", { name: "Undo" }).click();
  await until("it is as it was", async () => (await held()) === 10);
  await page.goto(panel("settings"));
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download the backup" }).click();
  const path = await (await download).path();
  await page.getByLabel("Join distance").fill("4");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await until("it is another one", async () => (await held()) === 4);
  await page.getByLabel("Backup file (ZIP)").setInputFiles({ name: "backup.zip", mimeType: "application/zip", buffer: await readFile(path) });
  await page.getByRole("button", { name: "Restore what is chosen" }).click();
  await page.getByText(/^Restored: .*playing/).waitFor();
  expect(await held()).toBe(10);
  await page.locator(".toast", { hasText: "The backup is restored" }).getByRole("button", { name: "Undo" }).click();
  await page.getByText("Everything is as it was before the backup").first().waitFor();
  expect(await held()).toBe(4);
  expect(faults).toEqual([]);
  await close();
});

/** Guards: parity 29: every setting the appliance has stands in the page, with its value, its default and its bounds; those that act on nothing any more too, apart. */
test("shows every setting there is", async () => {
  const { page, faults, close } = await open(browser, panel("settings"));
  const { settings } = (await (await fetch(`${appliance.url}settings`)).json()) as { settings: { group: string; name: string; min: number | null; max: number | null; default: unknown; acts: boolean }[] };
  await page.locator(".setting").first().waitFor();
  await page.locator("summary", { hasText: /\d/ }).click();
  for (const { group, name, min, max, default: usual, acts } of settings) {
    const field = page.locator(`#setting-${group}-${name}`);
    expect([name, await field.count()]).toEqual([name, 1]);
    const row = page.locator(".setting", { has: field });
    const said = (await row.textContent()) ?? "";
    expect([name, usual === null || said.includes("Default")]).toEqual([name, true]);
    if (min !== null && max !== null) expect([name, said]).toEqual([name, expect.stringMatching(/\d to \d/)]);
    expect([name, await page.locator("details .setting", { has: field }).count()]).toEqual([name, acts ? 0 : 1]);
  }
  expect(settings.length).toBeGreaterThan(20);
  expect(await page.locator(".setting").count()).toBe(settings.length);
  expect(faults).toEqual([]);
  await close();
});

/** Guards: the custom variant is kept by the appliance: a template is saved, put in force, compared, and its refusals are told. */
test("saves a template of the custom variant", async () => {
  const { page, faults, close } = await open(browser, panel("variant"));
  await page.getByRole("button", { name: "New: Template 1", exact: true }).click();
  await page.getByLabel("Name of the template").fill("Evening");
  await page.getByLabel("--live-buffer", { exact: true }).fill("25");
  await page.getByLabel("Memory limit").fill("1m");
  await page.getByRole("button", { name: "Save template 1" }).click();
  await page.getByRole("region", { name: "Unsaved changes" }).getByRole("alert").getByText("memory_limit must be").waitFor();
  await page.getByLabel("Memory limit").fill("512m");
  await page.getByRole("button", { name: "Save template 1" }).click();
  await page.getByText("In force (template").waitFor({ state: "hidden" });
  await page.locator(".slot", { hasText: "Evening" }).getByText("Active").waitFor();
  const template = (await (await fetch(`${appliance.url}custom-variant/config`)).json()) as { memory_limit: string; parameters: { name: string; value: unknown }[] };
  expect([template.memory_limit, template.parameters.find(({ name }) => name === "--live-buffer")?.value]).toEqual(["512m", 25]);
  // What somebody else saved meanwhile is not overwritten unseen.
  await page.getByRole("button", { name: "Edit what is in force" }).click();
  await page.getByLabel("Memory limit").fill("768m");
  const theirs = { ...template, memory_limit: "1g" };
  expect((await fetch(`${appliance.url}custom-variant/config`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(theirs) })).status).toBe(200);
  const bar = page.getByRole("region", { name: "Unsaved changes" });
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await bar.getByRole("alert").getByText("Somebody else has saved it meanwhile").waitFor();
  expect(await page.getByLabel("Memory limit").inputValue()).toBe("768m");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await bar.waitFor({ state: "hidden" });
  expect(((await (await fetch(`${appliance.url}custom-variant/config`)).json()) as { memory_limit: string }).memory_limit).toBe("768m");
  expect(faults).toEqual([]);
  await close();
});

/** Guards: without Docker the fleet says why no engine is made, and trying says it in place. */
test("says why no engine can be added", async () => {
  const { page, faults, close } = await open(browser, panel("engines"));
  await page.getByRole("region", { name: "Fleet" }).getByText("no Docker is used").waitFor();
  await page.getByRole("button", { name: "Add engine" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Add engine" }).click();
  await page.getByRole("dialog").getByRole("alert").getByText("no Docker is used").waitFor();
  expect(faults).toEqual([]);
  await close();
});
