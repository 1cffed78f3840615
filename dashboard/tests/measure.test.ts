// What the panel costs: `npm run measure`, on a machine that does nothing else, with SLUICE_BINARY naming a release build. Prints
// figures and judges none but the size; without being asked for it does nothing.
import { readdir, readFile, stat } from "node:fs/promises";
import { get, type ClientRequest } from "node:http";
import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { start } from "./support/appliance";
import { launch, open, until } from "./support/browser";
import { serve } from "./support/server";

const isWanted = process.env["SLUICE_MEASURE"] !== undefined;
const say = (text: string) => process.stdout.write(`${text}\n`);
const sorted = (values: number[]) => [...values].sort((one, other) => one - other);
const share = (values: number[], part: number) => sorted(values)[Math.min(values.length - 1, Math.floor(values.length * part))] ?? Number.NaN;
const dist = (path: string) => new URL(`../dist/${path}`, import.meta.url).pathname;

/** Guards: what a browser loads before it shows anything is as small as promised. */
test.runIf(isWanted)("the size of what comes first", async () => {
  const html = await readFile(dist("panel/index.html"), "utf8");
  const scripts = [...html.matchAll(/(?:src|href)="\.\/(assets\/[^"]+\.js)"/g)].map((match) => match[1] ?? "");
  const bytes = async (form: string) => (await Promise.all(scripts.map(async (name) => (await stat(dist(`panel/${name}.${form}`))).size))).reduce((sum, size) => sum + size, 0);
  const assets = (await readdir(dist("panel/assets"))).filter((name) => name.endsWith(".js"));
  // Started by the first script, and needed for the first figures.
  scripts.push(...assets.filter((name) => name.includes("worker")).map((name) => `assets/${name}`));
  const late = assets.filter((name) => !scripts.includes(`assets/${name}`));
  const [zipped, brotli] = [await bytes("gz"), await bytes("br")];
  say(`initial JS: ${(zipped / 1024).toFixed(0)} KiB gzip, ${(brotli / 1024).toFixed(0)} KiB Brotli; loaded on demand: ${late.join(", ")}`);
  expect(zipped).toBeLessThanOrEqual(200 * 1024);
});

/** Tells when the first figures stand in the page and a click is answered, milliseconds after the navigation began. */
test.runIf(isWanted)("the first view, on the real binary", async () => {
  const [browser, appliance] = await Promise.all([launch(), start()]);
  const took: number[] = [];
  for (let round = 0; round < 10; round += 1) {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.addInitScript(() => {
      const look = () => {
        const figure = document.querySelector(".big")?.textContent ?? "";
        if (/\d/.test(figure)) (globalThis as unknown as { ready: number }).ready = performance.now();
        else requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
    await page.goto(`${appliance.url}panel/`);
    await page.waitForFunction(() => (globalThis as unknown as { ready?: number }).ready !== undefined);
    took.push(await page.evaluate(() => (globalThis as unknown as { ready: number }).ready));
    await context.close();
  }
  say(`first view with figures: median ${share(took, 0.5).toFixed(0)} ms, worst of ${took.length} ${share(took, 1).toFixed(0)} ms`);
  await browser.close();
  await appliance.stop();
});

/** Scrolls a page up and down for 10 s, a row and a half each frame, and tells how long frames took. */
async function scrolled(what: string, page: Page): Promise<void> {
  const frames = await page.evaluate(
    () =>
      new Promise<number[]>((resolve) => {
        const [seen, begun] = [[] as number[], performance.now()];
        let [last, step] = [performance.now(), 60];
        const frame = (now: number) => {
          seen.push(now - last);
          last = now;
          if (window.scrollY + innerHeight >= document.documentElement.scrollHeight - 100 || (step < 0 && window.scrollY < 100)) step = -step;
          window.scrollBy(0, step);
          if (now - begun < 10_000) requestAnimationFrame(frame);
          else resolve(seen.slice(1));
        };
        requestAnimationFrame(frame);
      }),
  );
  const late = frames.filter((length) => length > 25).length;
  say(`scrolling ${what} for 10 s: ${frames.length} frames, median ${share(frames, 0.5).toFixed(1)} ms, p95 ${share(frames, 0.95).toFixed(1)} ms, p99 ${share(frames, 0.99).toFixed(1)} ms, ${late} later than a frame and a half`);
}

/** Tells how long frames take while a long list is scrolled, figures coming in meanwhile. */
test.runIf(isWanted).each([
  ["5,000 streams", "streams?scene=busy"],
  ["10,000 players of one stream", "streams?scene=crowd"],
])("scrolling %s", async (what, path) => {
  const [browser, site] = await Promise.all([launch(), serve(dist("mock"))]);
  const { page, close } = await open(browser, `${site.url}${path}`);
  await page.locator(".table-body .table-row").first().waitFor();
  if (path.includes("crowd")) {
    await page.locator(".table-body .table-row").first().click();
    await page.getByRole("table", { name: "Players" }).locator(".table-body .table-row").first().waitFor();
  }
  await page.waitForTimeout(3000);
  await scrolled(what, page);
  await close();
  await browser.close();
  await site.close();
});

/** Tells what this browser makes of a page that has nothing but rows: no more can be asked of it on this machine. */
test.runIf(isWanted)("scrolling plain rows", async () => {
  const browser = await launch();
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  const row = (at: number) => `<div style="height:38px">${Array.from({ length: 12 }, (_, cell) => `<span style="display:inline-block;width:110px">${at * cell} Mbit/s</span>`).join("")}</div>`;
  await page.setContent(Array.from({ length: 5000 }, (_, at) => row(at)).join(""));
  await page.waitForTimeout(3000);
  await scrolled("5,000 plain rows that never change", page);
  await browser.close();
});

/** Tells how the memory of a page grows over as many looks as an hour has. */
test.runIf(isWanted)("an hour of looks", async () => {
  const [browser, site] = await Promise.all([launch(), serve(dist("mock"))]);
  const { page, close } = await open(browser, `${site.url}?scene=hour`);
  const debug = await page.context().newCDPSession(page);
  const heap = async () => {
    await debug.send("HeapProfiler.collectGarbage");
    return ((await debug.send("Runtime.getHeapUsage")) as { usedSize: number }).usedSize / 1048576;
  };
  // A look every 50 ms: 1,800 of them are an hour at the usual interval.
  const seen: string[] = [];
  for (const minutes of [5, 15, 30, 45, 60]) {
    await page.waitForTimeout(((seen.length === 0 ? 5 : 15 - (minutes === 15 ? 5 : 0)) / 60) * 1800 * 50);
    seen.push(`${minutes} min ${(await heap()).toFixed(1)} MiB`);
  }
  say(`heap over an hour of looks: ${seen.join(", ")}`);
  await close();
  await browser.close();
  await site.close();
});

/** Tells what panels that are open cost the appliance: processor time of its process with and without them. */
test.runIf(isWanted)("fifty open panels", { timeout: 400_000 }, async () => {
  const [panels, seconds] = [50, 20];
  const appliance = await start();
  const players = appliance.ids.flatMap((id) => Array.from({ length: 5 }, () => get(new URL(`ace/getstream?id=${id}`, appliance.url), { agent: false }, (answer) => answer.resume()).on("error", () => undefined)));
  await until("they play", async () => ((await (await fetch(`${appliance.url}proxy/status`)).json()) as { total_clients: number }).total_clients >= players.length);
  const spent = async () => {
    const fields = (await readFile(`/proc/${appliance.pid}/stat`, "utf8")).split(") ")[1]?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  };
  const during = async () => {
    const before = await spent();
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    return ((await spent()) - before) / seconds;
  };
  // In turn, since what players cost wanders by more than what panels do.
  const [withThem, without, bytesEach]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < 4; round += 1) {
    without.push(await during());
    let bytes = 0;
    const open: ClientRequest[] = Array.from({ length: panels }, () =>
      get(new URL("events/stream?figures=2", appliance.url), { agent: false, headers: { accept: "text/event-stream" } }, (answer) => answer.on("data", (chunk: Buffer) => (bytes += chunk.length))).on("error", () => undefined),
    );
    await new Promise((resolve) => setTimeout(resolve, 3000));
    bytes = 0;
    withThem.push(await during());
    bytesEach.push(bytes / seconds / panels / 1024);
    for (const one of open) one.destroy();
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const percent = (values: number[]) => values.map((value) => (value * 100).toFixed(1)).join(", ");
  say(`${panels} open panels: ${((mean(withThem) - mean(without)) * 100).toFixed(2)} % of a core (in turn without: ${percent(without)} %; with: ${percent(withThem)} %), ${mean(bytesEach).toFixed(1)} KiB/s each`);
  for (const one of players) one.destroy();
  await appliance.stop();
});
