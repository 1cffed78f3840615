// Pictures of every page in both themes at three widths, for people to look at: `make screenshots`. Without being asked for, nothing is taken.
import { mkdir, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { launch, open, until } from "./support/browser";
import { shrunk } from "./support/png";
import { serve } from "./support/server";

const IMAGES = new URL("../../docs/images/", import.meta.url).pathname;
const SIZES = [
  { name: "phone", width: 390, height: 844 },
  { name: "desk", width: 1440, height: 900 },
  { name: "wall", width: 1920, height: 1080 },
];

/** Guards: the pictures in the documents are of this version; somebody looks at them before they are kept. */
test.runIf(process.env["SLUICE_SCREENSHOTS"])(
  "pictures are taken",
  async () => {
    await mkdir(IMAGES, { recursive: true });
    const [browser, site] = await Promise.all([launch(), serve(new URL("../dist/mock", import.meta.url).pathname)]);
    for (const theme of ["light", "dark"] as const) {
      const { page, faults, close } = await open(browser, `${site.url}streams?scene=small`, { colorScheme: theme });
      await page.locator(".table-body a").first().waitFor();
      const key = ((await page.locator(".table-body a").first().getAttribute("href")) ?? "").split("/streams/")[1] ?? "";
      const pages = { overview: "", streams: "streams", stream: `streams/${key}`, watch: "watch", engines: "engines", engine: "engine/10.20.0.4:6878", variant: "variant", log: "log", metrics: "metrics", settings: "settings", doctor: "doctor" };
      const wanted = process.env["SLUICE_SCREENSHOTS"] ?? "";
      for (const [name, path] of Object.entries(pages)) {
        // Any other word than 1 is the one page that is taken.
        if (wanted !== "1" && wanted !== name) continue;
        await page.setViewportSize({ width: 1440, height: 900 });
        await page.goto(`${site.url}${path}?scene=${name === "stream" || name === "watch" ? "small" : "busy"}`);
        await until("it is live", async () => (await page.locator(".live").textContent())?.includes("Live") ?? false);
        // Charts need some points; this is a picture and judges nothing.
        await page.waitForTimeout(name === "overview" || name === "metrics" ? 6000 : 800);
        for (const { name: size, width, height } of SIZES) {
          await page.setViewportSize({ width, height });
          await page.waitForTimeout(250);
          await writeFile(`${IMAGES}panel-${name}-${theme}-${size}.png`, shrunk(await page.screenshot()));
        }
      }
      expect(faults).toEqual([]);
      await close();
    }
    await browser.close();
    await site.close();
  },
  900_000,
);
