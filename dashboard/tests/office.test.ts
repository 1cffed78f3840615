// The pages where something is changed, on the mock: settings, engines, the custom variant, the log; and the journeys of somebody
// who has never seen the panel.
import { describe, expect, test } from "vitest";
import { until } from "./support/browser";
import { fact, mocked, told } from "./support/mocked";

const { at, open } = mocked();
const loopValues = [["Threshold", "900"], ["Looked at every", "20"], ["Kept off for", "60"]] as const;

describe("settings", () => {
  /** Guards: journey and parity 29: found by what it is called, with its default, range, effect and source; changed, told, undone. */
  test("the join distance is found, changed and undone", async () => {
    const { page, faults, close } = await open(at(""));
    await page.getByRole("link", { name: "Settings" }).click();
    await page.getByRole("searchbox").fill("join");
    const row = page.locator(".setting", { hasText: "Join distance" });
    expect(await row.textContent()).toMatch(/Default 10 s.*0 to 25.*for players that join from now on/);
    await row.getByText("default", { exact: true }).waitFor();
    const field = page.getByLabel("Join distance");
    await field.fill("");
    await row.getByText("A value is missing.").waitFor();
    await field.fill("40");
    await row.getByText("At most 25.").waitFor();
    expect(await page.getByRole("button", { name: "Save", exact: true }).isDisabled()).toBe(true);
    await field.fill("4.5");
    await page.getByText("1 unsaved change").first().waitFor();
    await page.getByText("Join distance: 10 → 4.5").waitFor();
    // What was typed survives another page and a reload.
    await page.getByRole("link", { name: "Doctor" }).click();
    await page.reload();
    await page.getByRole("link", { name: "Settings" }).click();
    expect(await page.getByLabel("Join distance").inputValue()).toBe("4.5");
    // Every value the field has from here on, picture by picture.
    const shown = await page.getByLabel("Join distance").evaluateHandle((input) => {
      const values = new Set<string>();
      const look = () => {
        values.add((input as HTMLInputElement).value);
        requestAnimationFrame(look);
      };
      look();
      return values;
    });
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await told(page, "One setting is saved");
    await row.getByText("changed here").waitFor();
    expect(await shown.evaluate((values) => [...values])).toEqual(["4.5"]);
    await page.getByRole("button", { name: "Undo" }).click();
    await until("it is as it was", async () => (await page.getByLabel("Join distance").inputValue()) === "10");
    expect(faults).toEqual([]);
    await close();
  });

  /** Guards: what the appliance refuses stays as it was typed, with the appliance's own words beside it. */
  test("a refusal is shown where it belongs", async () => {
    const { page, close } = await open(at("settings"));
    await page.getByLabel("Engines at least").fill("30");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.locator(".setting", { hasText: "Engines at least" }).getByRole("alert").getByText("min_replicas must be <= max_replicas").waitFor();
    expect(await page.getByLabel("Engines at least").inputValue()).toBe("30");
    await page.getByRole("button", { name: "Discard" }).click();
    expect(await page.getByLabel("Engines at least").inputValue()).toBe("2");
    await close();
  });

  /** Guards: parity 3: a session that ends in the middle asks for the key, keeps what was typed, and then saves it. */
  test("a 401 in the middle keeps what was typed", async () => {
    const { page, close } = await open(at("settings", "locked"));
    await page.getByLabel("Grace period").fill("30");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    const dialog = page.getByRole("dialog", { name: "Sign in with the API key" });
    await dialog.getByLabel("API key").fill("key");
    await dialog.getByRole("button", { name: "Sign in" }).click();
    await dialog.waitFor({ state: "hidden" });
    expect(await page.getByLabel("Grace period").inputValue()).toBe("30");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await told(page, "One setting is saved");
    await close();
  });

  /** Guards: parity 30, 31, 32: delivery, loop detection and its list, backup and what was taken from one; a file that is none, and one that is too large, say so in place. */
  test("loops, delivery and backup", async () => {
    const { page, close } = await open(at("settings"));
    await page.getByLabel("Delivery").selectOption("HLS");
    await page.getByLabel("Find loops").check();
    for (const [name, value] of loopValues) await page.getByLabel(name).fill(value);
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await told(page, "5 settings are saved");
    for (const [name, value] of loopValues) await until(`${name} is kept`, async () => (await page.getByLabel(name).inputValue()) === value);
    const loops = page.getByRole("region", { name: "Streams that looped" });
    const kept = loops.getByRole("listitem");
    expect(await kept.count()).toBe(3);
    await kept.first().getByRole("button", { name: /^Let it play/ }).click();
    await until("one is let go", async () => (await kept.count()) === 2);
    await loops.getByRole("button", { name: "Let all play" }).click();
    await page.getByText("No stream is kept from playing.").waitFor();
    const download = page.waitForEvent("download");
    await page.getByRole("button", { name: "Download the backup" }).click();
    expect((await download).suggestedFilename()).toMatch(/^sluice-settings-.*\.zip$/);
    const choose = (name: string, body: Buffer) => page.getByLabel("Backup file (ZIP)").setInputFiles({ name, mimeType: "application/zip", buffer: body });
    const backup = page.getByRole("region", { name: "Backup" });
    await choose("none.zip", Buffer.from("nonsense"));
    await backup.getByLabel("templates").uncheck();
    await backup.getByRole("button", { name: "Restore what is chosen" }).click();
    await backup.getByText("Invalid ZIP file").waitFor();
    await choose("large.zip", Buffer.concat([Buffer.from("PK"), Buffer.alloc(5 << 20)]));
    await backup.getByRole("button", { name: "Restore what is chosen" }).click();
    await backup.getByText("larger than").waitFor();
    await choose("good.zip", Buffer.from("PK"));
    await backup.getByRole("button", { name: "Restore what is chosen" }).click();
    await backup.getByText("Restored: custom variant, engines, playing, loop detection").waitFor();
    await page.locator(".toast", { hasText: "The backup is restored" }).getByRole("button", { name: "Undo" }).click();
    await told(page, "Everything is as it was before the backup");
    await close();
  });
});

describe("engines", () => {
  /** Guards: journey and parity 6, 7, 9, 10, 12, 26, 27: room, breakers, figures and the VPN are seen; an engine is added, looked into and removed, each after a question that names the players. */
  test("an engine is added, looked into and removed", async () => {
    const { page, faults, close } = await open(at("engines"));
    const fleet = page.getByRole("region", { name: "Fleet" });
    await fleet.getByText("2 to 20").waitFor();
    await fact(page, "In use").filter({ hasText: /^6 of 6$/ }).waitFor();
    await fact(page, "Free").filter({ hasText: /^0$/ }).waitFor();
    await fact(page, "Room for more").filter({ hasText: "Yes" }).waitFor();
    await fleet.getByText("3 of 3 failures").waitFor();
    await fleet.getByRole("button", { name: "Reset breakers" }).click();
    await fleet.getByText("0 of 3 failures").waitFor();
    await page.getByText(/Containers of 6 engines use [1-9]\d* % of a core and [1-9].* [MG]iB/).waitFor();
    await page.getByRole("region", { name: "VPN" }).getByText("No VPN is used.").waitFor();
    await fleet.getByRole("button", { name: "Add engine" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Add engine" }).click();
    await told(page, "Engine sluice-engine-7 was started");
    await page.getByRole("button", { name: "All 7" }).waitFor();
    await page.locator(".table-body .table-row", { hasText: "10.20.0.4" }).click();
    await page.getByRole("heading", { name: "Its container uses" }).waitFor();
    await page.getByText("% of a core").first().waitFor();
    await page.getByRole("button", { name: "Show" }).click();
    await page.getByText("acestream.core").first().waitFor();
    await page.getByRole("button", { name: "Empty and remove" }).click();
    const dialog = page.getByRole("dialog");
    expect(await dialog.textContent()).toMatch(/3 streams with \d+ players move/);
    await dialog.getByRole("button", { name: "Empty and remove" }).click();
    await told(page, "is removed");
    await page.getByText("There is no such engine").waitFor();
    expect(faults).toEqual([]);
    await close();
  });

  /** Guards: parity 7, 13: bounds hold, and what stands in the way is said. */
  test("bounds are said", async () => {
    const { page, close } = await open(at("settings"));
    await page.getByLabel("Engines at most").fill("6");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await told(page, "One setting is saved");
    await page.getByRole("link", { name: "Engines", exact: true }).click();
    const fleet = page.getByRole("region", { name: "Fleet" });
    await fleet.getByText("there are as many engines as there may be (6)").waitFor();
    await fleet.getByRole("button", { name: "Add engine" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Add engine" }).click();
    await page.getByRole("dialog").getByRole("alert").getByText("as many engines as there may be").waitFor();
    await close();
  });

  /** Guards: journey and parity 14 to 18: a parameter is changed, compared with what is in force, saved and engines replaced; every player is said to stay, and how far it is is seen on any page. */
  test("a parameter is changed and engines are replaced", async () => {
    const { page, faults, close } = await open(at("engines"));
    await page.getByRole("link", { name: "Custom variant" }).click();
    await page.getByLabel("Use the custom variant").check();
    await page.getByRole("searchbox").fill("live-buffer");
    const field = page.getByLabel("--live-buffer", { exact: true });
    await field.fill("1.5");
    await page.getByText("Only whole numbers.").waitFor();
    await field.fill("25");
    const diff = page.getByRole("region", { name: "What would change" }).first();
    await until("the difference is shown", async () => /--live-buffer\s*10\s*25/.test((await diff.innerText()).replace(/\s+/g, " ")));
    await page.getByRole("button", { name: "Save and replace engines" }).click();
    const dialog = page.getByRole("dialog");
    expect(await dialog.textContent()).toMatch(/All \d+ players keep their connections/);
    await dialog.getByRole("button", { name: "Save and replace engines" }).click();
    await page.getByRole("status", { name: "Engines are being replaced" }).waitFor();
    await page.getByRole("link", { name: "Overview" }).click();
    await page.getByText("All engines are replaced").waitFor();
    await page.getByText("6 of 6 started, 6 of 6 removed").waitFor();
    await page.goto(at("variant"));
    expect(faults).toEqual([]);
    await close();
  });

  /** Guards: parity 15 to 18: all 35 parameters are there with their help; templates are made, named, exported, imported, put in force and deleted; arguments nobody knows can be given. */
  test("templates and every parameter", async () => {
    const { page, faults, close } = await open(at("variant"));
    await page.getByRole("region", { name: "Logging" }).waitFor();
    expect(await page.locator(".setting-words code").count()).toBe(35);
    // Each has its help and its default, and is passed on or not; what is not is kept from being typed into.
    const rows = page.locator(".setting", { has: page.locator(".setting-words code") });
    const seen = () =>
      rows.evaluateAll((all) =>
        all.map((row) => ({
          name: row.querySelector("code")?.textContent ?? "",
          words: [...row.querySelectorAll(".setting-words p")].map((line) => line.textContent ?? ""),
          isPassed: row.querySelector<HTMLInputElement>("[role=switch]")?.checked,
          isLocked: row.querySelector<HTMLInputElement>(".setting-value input:not([type=checkbox]), select")?.disabled,
        })),
      );
    const turn = () => rows.evaluateAll((all) => all.forEach((row) => row.querySelector<HTMLInputElement>("[role=switch]")?.click()));
    const before = await seen();
    await turn();
    await page.getByRole("region", { name: "Unsaved changes" }).waitFor();
    for (const [at, { name, words, isPassed, isLocked }] of (await seen()).entries()) {
      expect([name, words]).toEqual([name, [expect.stringMatching(/\w{3}.*\.$/), expect.stringMatching(/^Default|^Not passed/)]]);
      expect([name, isPassed, isLocked ?? !isPassed]).toEqual([name, !before[at]?.isPassed, !isPassed]);
    }
    await turn();
    await rows.filter({ hasText: "--port" }).getByText("Behind a VPN leave it off").waitFor();
    expect(await page.getByRole("region", { name: "Unsaved changes" }).count()).toBe(0);
    await page.getByRole("button", { name: "New: Template 3" }).click();
    await page.getByLabel("Name of the template").fill("Evening");
    await page.getByLabel("--max-peers", { exact: true }).fill("12");
    await page.getByRole("textbox", { name: "Argument" }).fill("--new-thing");
    await page.getByRole("button", { name: "Add argument" }).click();
    await page.getByLabel("Pass --new-thing to engines").check();
    await page.getByLabel("--new-thing", { exact: true }).fill("abc");
    await page.getByRole("button", { name: "Save template 3" }).click();
    await told(page, "Template Evening is saved");
    const confirm = async (button: string, done: string) => {
      await page.getByRole("dialog").getByRole("button", { name: button, exact: true }).click();
      await told(page, done);
    };
    await page.getByRole("button", { name: "Make active: Evening" }).click();
    await confirm("Make active", "Evening is active");
    await page.getByRole("button", { name: "Rename: Evening" }).click();
    await page.getByRole("dialog").getByLabel("Name of the template").fill("Night");
    await confirm("Rename", "called Night now");
    await page.getByRole("button", { name: "Delete: Small host" }).click();
    await confirm("Delete", "Small host is deleted");
    const download = page.waitForEvent("download");
    await page.getByRole("button", { name: "Export: Night" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Export" }).click();
    const path = await (await download).path();
    const choosing = page.waitForEvent("filechooser");
    await page.getByRole("button", { name: "Import: Template 5" }).click();
    await (await choosing).setFiles(path);
    await told(page, "The file is in slot 5");
    await page.getByRole("button", { name: "Edit what is in force" }).click();
    await page.getByText("In force (template: Night)").waitFor();
    expect(await page.getByLabel("--new-thing", { exact: true }).inputValue()).toBe("abc");
    expect(faults).toEqual([]);
    await close();
  });
});

describe("what happened", () => {
  /** Guards: journey and parity 24, 25: why a stream ended is found in the list of the ended, on its own page and in the log, by kind and by words. */
  test("why a stream ended is found", async () => {
    const { page, faults, close } = await open(at("streams"));
    await page.getByRole("button", { name: /^Ended/ }).click();
    const row = page.locator("tbody tr", { hasText: "every attempt to replace it" }).first();
    // When it started and ended, how long it lasted, and what it moved.
    expect(await row.locator("time").count()).toBe(2);
    expect(await row.locator("td.cell-number").allTextContents()).toEqual([expect.stringMatching(/\d (s|min|h)/), expect.stringMatching(/[KMG]iB/), expect.stringMatching(/[KMG]iB/)]);
    await row.getByRole("link").first().click();
    await page.getByRole("heading", { name: "What happened" }).waitFor();
    await page.getByText("failover_exhausted").first().waitFor();
    await page.getByRole("link", { name: "Events" }).click();
    await page.getByRole("button", { name: /^Engine \d/ }).click();
    await page.getByRole("searchbox").fill("does not answer");
    await until("only those are shown", async () => {
      const all = await page.locator(".log-what p:first-child").allTextContents();
      return all.length > 0 && all.every((text) => text === "The engine does not answer");
    });
    expect(page.url()).toContain("type=engine");
    await page.getByText("Details").first().click();
    await page.locator(".log pre").first().getByText("unhealthy").waitFor();
    await page.getByLabel("Show").selectOption("50");
    expect(faults).toEqual([]);
    await close();
  });

  /** Guards: journey: who is behind is found by sorting the players of a stream. */
  test("who is behind is found", async () => {
    const { page, close } = await open(at("streams"));
    await page.locator(".table-body .table-row").first().click();
    const players = page.getByRole("table", { name: "Players" });
    await players.locator(".table-body .table-row").first().waitFor();
    expect(await players.getByRole("columnheader", { name: "Behind" }).getAttribute("aria-sort")).toBe("descending");
    await close();
  });

  /** Guards: where nobody can follow the page says that it is not live, and goes on by asking. */
  test("a cut is said and asked around", async () => {
    const { page, close } = await open(at("", "cut"));
    await page.getByText("Not live, asking").waitFor();
    await until("figures come all the same", async () => Number(await page.locator(".big").nth(1).textContent()) === 14);
    await page.locator(".live").click();
    await page.getByText("Following is cut (no answer)").waitFor();
    await close();
  });
});
