// What every page does when something fails: nothing made up, nothing lost, nothing silent. On the mock.
import type { Page } from "playwright-core";
import { describe, expect, test } from "vitest";
import { until } from "./support/browser";
import { fact, mocked, told } from "./support/mocked";

const { at, open } = mocked();

const PAGES = ["", "streams", "streams?state=ended", "watch", "engines", "engine/10.20.0.4:6878", "variant", "log", "metrics", "settings", "doctor"];
/** What an answer that did not come must not be taken for: nothing, off, or in order. */
const MADE_UP = /(?:^|[\s(])0(?:[.,]0+)?(?:$|[\s)%])|disabled|no vpn is used|no engine is known|nothing is wrong|no stream (?:plays|is kept)/i;

describe("an appliance that does not answer", () => {
  /** Guards: with the API down no page reads 0, empty, off or in order, on its first look and ever after; each says that nothing comes. */
  test("makes no page read nothing", async () => {
    const { page, faults, close } = await open(at("", "never"));
    for (const path of PAGES) {
      await page.goto(at(path, "never"));
      await page.getByRole("alert").getByText("Nothing has come yet").waitFor();
      // What a page asks for by itself has been refused by now, too: the banner is as old as the first look.
      await page.waitForTimeout(200);
      const shown = await page.locator("main").innerText();
      expect({ path, made: MADE_UP.exec(shown)?.[0] ?? null, shown: MADE_UP.test(shown) ? shown : "" }).toEqual({ path, made: null, shown: "" });
    }
    expect(faults).toEqual([]);
    await close();
  });

  /** Guards: what had come before the API went down stays on every page, greyed, with its age, and nothing turns into 0 or off. */
  test("leaves the last figures, greyed", async () => {
    const { page, faults, close } = await open(at("", "down"));
    await page.getByRole("alert").getByText("The appliance does not answer").waitFor();
    expect(await page.getByText("Nothing is wrong").count()).toBe(0);
    for (const [name, text] of [["Streams", "Playing"], ["Engines", "10.20.0.4"], ["Doctor", "io_uring"]] as const) {
      await page.getByLabel("Pages").getByRole("link", { name }).click();
      const stale = page.locator(".stale");
      await stale.getByText(text).first().waitFor();
      expect(await stale.first().getAttribute("title")).toMatch(/ago/);
      expect(/disabled|no vpn is used/i.exec(await page.locator("main").innerText())).toBeNull();
    }
    expect(faults).toEqual([]);
    await close();
  });
});

/** What fails everywhere, and is told. */
const WHY = "the disk is full";

describe("a write that fails", () => {
  const ask = async (page: Page, button: string) => page.getByRole("dialog").getByRole("button", { name: button, exact: true }).click();
  const press = async (page: Page, name: string) => page.getByRole("button", { name }).first().click();
  const writes: [what: string, path: string, write: (page: Page) => Promise<void>][] = [
    ["stopping", "streams", async (page) => (await press(page, "Stop: "), ask(page, "Stop"))],
    ["moving", "streams?state=playing", async (page) => (await page.locator(".table-body .table-row").first().click(), await press(page, "Move"), ask(page, "Move"))],
    ["adding an engine", "engines", async (page) => (await press(page, "Add engine"), ask(page, "Add engine"))],
    ["scaling", "engines", async (page) => (await press(page, "Scale"), await page.getByLabel("Engines wanted").fill("9"), ask(page, "Scale"))],
    ["replacing all", "engines", async (page) => (await press(page, "Replace all"), ask(page, "Replace all"))],
    ["resetting breakers", "engines", (page) => press(page, "Reset breakers")],
    ["draining", "engine/10.20.0.4:6878", async (page) => (await press(page, "Drain"), ask(page, "Drain"))],
    ["removing an engine", "engine/10.20.0.4:6878", async (page) => (await press(page, "Empty and remove"), ask(page, "Empty and remove"))],
    ["a setting", "settings", async (page) => (await page.getByLabel("Grace period").fill("30"), press(page, "Save"))],
    ["letting a stream play", "settings", (page) => press(page, "Let it play")],
    ["a backup", "settings", (page) => press(page, "Download the backup")],
    ["restoring one", "settings", async (page) => (await page.getByLabel("Backup file (ZIP)").setInputFiles({ name: "b.zip", mimeType: "application/zip", buffer: Buffer.from("PK") }), press(page, "Restore what is chosen"))],
    ["the variant", "variant", async (page) => (await page.getByLabel("Memory limit").fill("512m"), page.getByRole("button", { name: "Save", exact: true }).click())],
    ["a template", "variant", async (page) => (await press(page, "New: Template 3"), await page.getByLabel("Memory limit").fill("512m"), press(page, "Save template 3"))],
    ["putting one in force", "variant", async (page) => (await press(page, "Make active: Small host"), ask(page, "Make active"))],
    ["renaming one", "variant", async (page) => (await press(page, "Rename: Small host"), ask(page, "Rename"))],
    ["deleting one", "variant", async (page) => (await press(page, "Delete: Small host"), ask(page, "Delete"))],
    ["exporting one", "variant", async (page) => (await press(page, "Export: Small host"), ask(page, "Export"))],
  ];

  /** Guards: no write fails in silence: whatever is tried, the reason stands on top of the page and stays in the list until it is dismissed. */
  test("is told, whichever it is", async () => {
    const { page, faults, close } = await open(at("", "failing"));
    for (const [what, path, write] of writes) {
      // What was typed before is kept, and would be asked about.
      await page.evaluate(() => sessionStorage.clear());
      await page.goto(at(path, "failing"));
      await write(page);
      const notice = page.locator(".toast-failed", { hasText: WHY });
      await notice.first().waitFor().catch(() => expect(`${what} failed in silence`).toBe(""));
      expect([what, await page.locator(".badge").textContent()]).toEqual([what, "1"]);
    }
    expect(faults).toEqual([]);
    await close();
  });

  /** Guards: what fails stays until it is dismissed, repeats are counted, and the list keeps it after that. */
  test("stays until it is dismissed", async () => {
    const { page, close } = await open(at("settings", "failing"));
    await press(page, "Let it play");
    await told(page, WHY);
    await press(page, "Let it play");
    const notice = page.locator(".toast-failed");
    await notice.getByText("× 2").waitFor();
    expect(await notice.count()).toBe(1);
    await notice.getByRole("button", { name: "Dismiss" }).click();
    await notice.waitFor({ state: "hidden" });
    await page.getByRole("button", { name: /^Notices/ }).click();
    await page.getByRole("dialog", { name: "Notices" }).getByText(WHY).waitFor();
    await close();
  });

  /** Guards: engines are replaced only after what they are to be made of was saved; a save that is refused begins nothing and keeps what was typed. */
  test("begins nothing that goes by it", async () => {
    const { page, close } = await open(at("variant", "failing"));
    await page.getByLabel("Memory limit").fill("512m");
    await page.getByRole("button", { name: "Save and replace engines" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Save and replace engines" }).click();
    await page.getByRole("region", { name: "Unsaved changes" }).getByRole("alert").getByText(WHY).waitFor();
    expect(await page.locator(".strip").count()).toBe(0);
    expect(await page.getByLabel("Memory limit").inputValue()).toBe("512m");
    await close();
  });
});

describe("what goes wrong on the way", () => {
  /** Guards: replacing engines that fails half-way says so: how many are new, how many of the old are gone, how long it took, and which engine it failed at. */
  test("replacing engines is told as far as it came", async () => {
    const { page, close } = await open(at("engines", "unrenewed"));
    await page.getByRole("button", { name: "Replace all" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Replace all" }).click();
    const strip = page.getByRole("status", { name: "Engines are being replaced" });
    await strip.getByText(/A new one is being started|is being emptied and stopped/).waitFor();
    await strip.getByText("Replacing the engines failed").waitFor();
    expect(await strip.textContent()).toMatch(/2 of 6 started, 2 of 6 removed/);
    expect(await strip.textContent()).toMatch(/sluice-engine-3 did not answer/);
    expect(await strip.getByRole("progressbar").evaluate((bar: HTMLProgressElement) => bar.position)).toBeCloseTo(1 / 3);
    await close();
  });

  /** Guards: a template that is deleted can be put back, whole. */
  test("a deleted template is put back", async () => {
    const { page, close } = await open(at("variant"));
    await page.getByRole("button", { name: "Delete: Small host" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await told(page, "Small host is deleted");
    await page.getByRole("button", { name: "Import: Template 2" }).waitFor();
    await page.locator(".toasts").getByRole("button", { name: "Undo" }).click();
    await page.getByRole("button", { name: "Edit: Small host" }).click();
    await until("it is as it was", async () => (await page.getByLabel("Memory limit").inputValue()) === "512m");
    await close();
  });

  /** Guards: a file of 5 MB is no template: it is refused in place, and nothing that was typed is lost. */
  test("a file that is too large is refused", async () => {
    const { page, faults, close } = await open(at("variant"));
    await page.getByLabel("Memory limit").fill("700m");
    const choosing = page.waitForEvent("filechooser");
    await page.getByRole("button", { name: "Import: Template 5" }).click();
    await (await choosing).setFiles({ name: "large.json", mimeType: "application/json", buffer: Buffer.alloc(5 << 20, "x") });
    await page.locator(".toast-failed").getByText("larger").waitFor();
    expect(await page.getByLabel("Memory limit").inputValue()).toBe("700m");
    expect(faults).toEqual([]);
    await close();
  });

  /** Guards: answers without most of their fields break no page; what is missing is a dash. */
  test("missing fields break no page", async () => {
    const { page, faults, close } = await open(at("", "bare"));
    for (const path of PAGES) {
      await page.goto(at(path, "bare"));
      await page.locator("h1").first().waitFor();
      await until("the page has its content", async () => (await page.locator("main").innerText()).length > 60);
      expect([path, await page.getByText("This page failed").count()]).toEqual([path, 0]);
    }
    await page.goto(at("engine/10.20.0.4:6878", "bare"));
    await fact(page, "Version").first().filter({ hasText: "–" }).waitFor();
    expect(faults).toEqual([]);
    await close();
  });
});
