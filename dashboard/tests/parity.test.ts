// What operators of the panel before this one could do, line by line, as far as no other test here is about it: on the mock.
import type { Page } from "playwright-core";
import { describe, expect, test } from "vitest";
import { until } from "./support/browser";
import { fact, mocked } from "./support/mocked";

const { at, open } = mocked();
const firstStream = async (page: Page) => {
  await page.locator(".table-body .table-row").first().click();
  await page.getByRole("heading", { name: "Facts" }).waitFor();
};

describe("the frame", () => {
  /** Guards: parity 1: every page is loaded again and bookmarked as what it is, and says which version it is of. */
  test("pages are addresses, and the version is told", async () => {
    const { page, faults, close } = await open(at(""));
    for (const [path, heading] of [["streams?q=h264&sort=players-", "Streams"], ["engine/10.20.0.4:6878", /10\.20\.0\.4:6878/], ["variant", "Custom variant"], ["metrics?window=3600", "Metrics"], ["log?type=engine", "Events"]] as const) {
      await page.goto(at(path));
      await page.getByRole("heading", { level: 1, name: heading }).waitFor();
      const [address, title] = [page.url(), await page.title()];
      await page.reload();
      await page.getByRole("heading", { level: 1, name: heading }).waitFor();
      expect([page.url(), await page.title()]).toEqual([address, title]);
    }
    await page.getByRole("button", { name: "View" }).click();
    await page.getByText("Version 0.1.0-mock").waitFor();
    expect(faults).toEqual([]);
    await close();
  });

  /** Guards: parity 2 and 4: how fresh each source is, how often it comes, a pause that asks nothing, events shown and the theme; kept over a reload. */
  test("freshness is told, chosen and paused", async () => {
    const { page, close } = await open(at(""));
    const status = page.locator(".live");
    await until("it is live", async () => (await status.textContent())?.includes("Live") ?? false);
    await status.click();
    const details = page.getByRole("dialog", { name: "How fresh this is" });
    for (const source of await details.locator("tbody tr").all()) expect(await source.textContent()).toMatch(/just now|ago/);
    await details.getByLabel("Look every").selectOption("1");
    await details.getByRole("button", { name: "Pause" }).click();
    await until("it is paused", async () => (await status.textContent())?.includes("Paused") ?? false);
    const held = await page.locator(".big").first().textContent();
    // Looks came every second; now none does, and what is shown grows old.
    await page.locator(".live-age", { hasText: /^[3-9] s ago/ }).waitFor();
    expect(await page.locator(".big").first().textContent()).toBe(held);
    await details.getByRole("button", { name: "Go on" }).click();
    await until("it goes on", async () => (await status.textContent())?.includes("Live") ?? false);
    expect(held).toMatch(/\d/);
    await page.locator(".live-age", { hasText: "just now" }).waitFor();
    await page.getByRole("button", { name: "View" }).click();
    await page.getByLabel("Theme").selectOption("dark");
    await page.goto(at("log"));
    await page.getByLabel("Show").selectOption("50");
    await until("so many are shown", async () => (await page.locator(".log-entry").count()) === 50);
    await page.reload();
    await until("it is kept", async () => (await page.getByLabel("Show").inputValue()) === "50" && (await page.evaluate(() => document.documentElement.dataset["theme"])) === "dark");
    expect(await page.evaluate(() => (JSON.parse(localStorage.getItem("sluice.prefs") ?? "{}") as { intervalS: number }).intervalS)).toBe(1);
    await close();
  });

  /** Guards: a fresh page shows the quarter of an hour before it was opened, as the appliance remembers it. */
  test("a fresh page has a history", async () => {
    const { page, close } = await open(at(""));
    const band = page.getByRole("region", { name: "Last 15 minutes" });
    await until("the line is as wide as its box", async () => {
      const box = await band.locator("svg.area .area-line").first().boundingBox();
      const whole = await band.locator("svg.area").first().boundingBox();
      return box !== null && whole !== null && box.width > 0.9 * whole.width;
    });
    expect(await band.getByText("Known since").count()).toBe(0);
    await close();
  });
});

describe("engines", () => {
  /** Guards: parity 5, 8, 11 and 27: with two VPNs each tunnel's state is told, which one failed, which carries on and since when; engines stand by VPN, those bound to none too. */
  test("VPNs and their engines", async () => {
    const { page, faults, close } = await open(at("engines", "vpn"));
    const vpn = page.getByRole("region", { name: "VPN" });
    await vpn.getByRole("alert").getByText(/gluetun-one failed 12 min.* ago, gluetun-two carries on alone/).waitFor();
    const [one, two] = [vpn.locator("dl").nth(0), vpn.locator("dl").nth(1)];
    expect(await one.textContent()).toContain("exited · unhealthy");
    for (const text of ["running · healthy", "203.0.113.7", "43121", "example", "Reykjavik, Iceland", "Checked"]) expect(await two.textContent()).toContain(text);
    const groups = await page.locator("h2.group").allTextContents();
    expect(groups.map((text) => text.trim())).toEqual(["gluetun-one 2 engines", "gluetun-two 3 engines", "Without a VPN 1 engine"]);
    await page.getByRole("table", { name: "Engines: Without a VPN" }).getByText("10.20.0.6").waitFor();
    await page.getByRole("link", { name: "Overview" }).click();
    const numbers = page.locator(".number");
    expect(await numbers.nth(1).locator(".big").textContent()).toBe("14");
    expect(await numbers.nth(3).textContent()).toMatch(/6\d* ready|ready · \d+ busy/);
    expect(faults).toEqual([]);
    await close();
  });

  /** Guards: parity 9 and 10: everything known of one engine and of its container stands on its page. */
  test("one engine, whole", async () => {
    const { page, close } = await open(at("engine/10.20.0.2:6878"));
    for (const [name, value] of [["State", "Ready"], ["Name", "engine-10.20.0.2-6878"], ["Address", "10.20.0.2:6878"], ["Version", "3.2.11 · linux"], ["Forwarded port", "43121"], ["Known since", /\d/], ["Checked", /\d s/], ["Last used", /./], ["Streams", /\d/], ["CPU", "% of a core"], ["Memory", /MiB of 512 MiB|MiB/], ["Network", /\d GiB received · [\d.]+ GiB sent/], ["Disk", /\d MiB read · [\d.]+ MiB written/]] as const) {
      await fact(page, name).first().filter({ hasText: value }).waitFor();
    }
    await close();
  });

  /** Guards: an engine is drained after a question that names the players, its streams go elsewhere, it stays, and it is used again. */
  test("an engine is drained and used again", async () => {
    const { page, close } = await open(at("engine/10.20.0.4:6878"));
    await page.getByRole("button", { name: "Drain" }).click();
    const dialog = page.getByRole("dialog");
    expect(await dialog.textContent()).toMatch(/3 streams with \d+ players move/);
    await dialog.getByRole("button", { name: "Drain" }).click();
    await page.locator(".toasts").getByText("is drained").waitFor();
    await page.getByText("Nothing plays on it.").waitFor();
    await page.getByLabel("Pages").getByRole("link", { name: "Engines" }).click();
    await page.locator(".table-row", { hasText: "10.20.0.4" }).getByText("drained").waitFor();
    await page.goBack();
    await page.getByRole("button", { name: "Use again" }).click();
    await page.locator(".toasts").getByText("is used again").waitFor();
    await page.getByRole("button", { name: "Drain" }).waitFor();
    await close();
  });

  /** Guards: parity 13, 15 and 30: the variant, bounds, cleanup and delivery are chosen within what they may be and saved without touching an engine; members of the custom variant follow each other. */
  test("variants, bounds and delivery", async () => {
    const { page, close } = await open(at("settings"));
    await page.getByLabel("Engines at least").fill("3");
    await page.getByLabel("Engines at most").fill("101");
    await page.locator(".setting", { hasText: "Engines at most" }).getByText("At most 100.").waitFor();
    await page.getByLabel("Engines at most").fill("12");
    await page.getByLabel("Engine variant").selectOption("jopsis-amd64");
    await page.getByLabel("Remove idle engines").uncheck();
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.locator(".toasts").getByText("4 settings are saved").waitFor();
    expect(await page.getByRole("status", { name: "Engines are being replaced" }).count()).toBe(0);
    await page.goto(at("variant"));
    await page.getByText("This machine is amd64.").waitFor();
    expect(await page.getByLabel("Engine version").count()).toBe(0);
    await page.getByLabel("Platform").selectOption("arm64");
    await page.getByLabel("Engine version").selectOption("3.2.14");
    await page.getByLabel("Memory limit").fill("2g");
    await page.getByLabel("Mount the torrent folder").check();
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByRole("alert").getByText("torrent_folder_host_path").waitFor();
    await page.getByLabel("Folder on the host").fill("/srv/torrents");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    // Parity 18: what was saved holds for engines that are made from now on.
    await page.locator(".toasts").getByText("Engines that run still have the old values").waitFor();
    await close();
  });

  /** Guards: what is edited is what the button names: a slot that is not in force is saved alone and reaches no engine, the switch puts no template in force, and secrets are neither shown nor kept. */
  test("a draft, what is saved and what is in force are three things", async () => {
    const { page, close } = await open(at("variant"));
    await page.getByRole("button", { name: "Edit: Small host" }).click();
    await page.getByLabel("Name of the template").waitFor();
    await page.getByLabel("Memory limit").fill("640m");
    await page.getByLabel("Pass --access-token to engines").check();
    const token = page.getByLabel("--access-token", { exact: true });
    await token.fill("a-secret");
    expect(await token.getAttribute("type")).toBe("password");
    await page.getByRole("region", { name: "What would change" }).first().getByText("••••").waitFor();
    expect(await page.evaluate(() => JSON.stringify({ ...sessionStorage, ...localStorage }))).not.toContain("a-secret");
    const bar = page.getByRole("region", { name: "Unsaved changes" });
    expect((await bar.getByRole("button").allTextContents()).map((text) => text.trim())).toEqual(["Discard", "Save template 2"]);
    await bar.getByRole("button", { name: "Save template 2" }).click();
    await bar.waitFor({ state: "hidden" });
    await page.getByRole("button", { name: "Edit what is in force" }).click();
    await page.getByText("In force (template: Living room)").waitFor();
    expect(await page.getByLabel("Memory limit").inputValue()).toBe("");
    await page.getByLabel("Use the custom variant").check();
    await bar.getByRole("button", { name: "Save", exact: true }).click();
    await bar.waitFor({ state: "hidden" });
    await page.locator(".slot", { hasText: "Living room" }).getByText("Active").waitFor();
    expect(await page.getByText("Active", { exact: true }).count()).toBe(1);
    await close();
  });

  /** Guards: parity 14: replacing all engines is refused while it goes on. */
  test("replacing is refused while it goes on", async () => {
    const { page, close } = await open(at("engines"));
    const replace = async () => {
      await page.getByRole("button", { name: "Replace all" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Replace all" }).click();
    };
    await replace();
    await page.getByRole("status", { name: "Engines are being replaced" }).waitFor();
    await replace();
    await page.getByRole("dialog").getByRole("alert").getByText("engines are being replaced already").waitFor();
    await close();
  });
});

describe("streams", () => {
  /** Guards: parity 19: every column of the list is there on a wall, and sorts either way, saying so. */
  test("the list has its columns and sorts by each", async () => {
    const { page, close } = await open(at("streams"), { viewport: { width: 1920, height: 1080 } });
    await page.locator(".table-body .table-row").first().waitFor();
    // A figure as it is written, as a number, and a name as it is.
    const SIZES: Record<string, number> = { KiB: 1, MiB: 2, GiB: 3, TiB: 4 };
    const amount = (text: string) => {
      const time = /^(?:(\d+) d)? ?(?:(\d+) h)? ?(?:(\d+) min)? ?(?:(\d+) s)?$/.exec(text);
      if (time && text !== "") return Number(time[1] ?? 0) * 86_400 + Number(time[2] ?? 0) * 3600 + Number(time[3] ?? 0) * 60 + Number(time[4] ?? 0);
      const figure = /^([\d,.]+)(?: (KiB|MiB|GiB|TiB|Mbit\/s|s))?/.exec(text);
      return figure ? Number((figure[1] ?? "").replaceAll(",", "")) * 1024 ** (SIZES[figure[2] ?? ""] ?? 0) : null;
    };
    for (const [name, isFigure] of [["State", false], ["Stream", false], ["Players", true], ["Bitrate", true], ["Engine", false], ["Peers", true], ["P2P down", true], ["P2P up", true], ["Live position", false], ["Behind live", true], ["P2P received", true], ["P2P sent", true], ["Uptime", true]] as const) {
      const head = page.getByRole("columnheader", { name, exact: true });
      const orders: (string | null)[] = [];
      for (let click = 0; click < 2; click += 1) {
        await head.getByRole("button").click();
        const order = await head.getAttribute("aria-sort");
        orders.push(order);
        if (!isFigure) continue;
        // Rows stand in the order that is said; those nothing is known of come last.
        await expect.poll(async () => {
          const shown = await page.locator(`.table-body .cell[data-label="${name}"]`).evaluateAll((cells) => cells.sort((one, other) => one.getBoundingClientRect().top - other.getBoundingClientRect().top).map((cell) => (cell.textContent ?? "").replace(/ \+\d+$/, "")));
          const known = shown.flatMap((text) => amount(text) ?? []);
          const sorted = [...known].sort((one, other) => (order === "ascending" ? one - other : other - one));
          return known.length > 10 && shown.slice(0, known.length).every((text) => text !== "–") && JSON.stringify(known) === JSON.stringify(sorted);
        }, { message: `${name} ${order}`, timeout: 10_000 }).toBe(true);
      }
      expect([name, new Set(orders)]).toEqual([name, new Set(["ascending", "descending"])]);
    }
    await close();
  });

  /** Guards: parity 20, 21 and 22: one stream, whole: title, ids, kind, window and buffer, its players with their columns, an hour of down, up and peers, and the engine's addresses to copy. */
  test("one stream, whole", async () => {
    const { page, faults, close } = await open(at("streams?state=playing&sort=players-"), { permissions: ["clipboard-read", "clipboard-write"] });
    await firstStream(page);
    await page.getByRole("heading", { level: 1, name: /Channel \d+/ }).waitFor();
    for (const [name, value] of [["Title", /Channel \d+/], ["Content id", /[0-9a-f]{40}/], ["Infohash", /[0-9a-f]{40}/], ["Kind", "live broadcast"], ["Held", /s · .*MiB/], ["Engine's buffer", "15 pieces"], ["P2P received", /GiB|MiB/], ["P2P sent", /GiB|MiB/], ["Behind live", /s$/], ["Live position", /\d+:\d\d/]] as const) {
      await fact(page, name).first().filter({ hasText: value }).waitFor();
    }
    const players = page.getByRole("table", { name: "Players" });
    const first = players.locator(".table-body .table-row").first();
    for (const [name, value] of [["Address", /\d+\.\d+\.\d+\.\d+/], ["Player", /VLC|mpv|Kodi|TiviMate|Lavf|Jellyfin|ExoPlayer/], ["Behind", /\d s/], ["Rate", /Mbit\/s/], ["Skips", /\d/], ["Sent", /[KMG]iB/], ["Since", /\d (s|min|h)/], ["Id", /\w{4}/]] as const) {
      await players.getByRole("columnheader", { name, exact: true }).waitFor();
      await first.locator(`.cell[data-label="${name}"]`, { hasText: value }).waitFor();
    }
    for (const name of ["P2P down", "P2P up", "Peers"]) {
      const line = page.getByRole("img", { name: new RegExp(`^${name}: newest`) });
      const length = await line.locator(".area-line").first().evaluate((path) => (path.getAttribute("d") ?? "").split("L").length);
      expect(length).toBeGreaterThan(100);
    }
    for (const [name, path] of [["statistics", "/ace/stat/"], ["commands", "/ace/cmd/"]] as const) {
      await page.getByRole("button", { name: new RegExp(name) }).click();
      await until("it is copied", async () => (await page.evaluate(() => navigator.clipboard.readText())).includes(path));
    }
    expect(faults).toEqual([]);
    await close();
  });

  /** Guards: where the time of a start went is seen part by part, and splices, silences and places to join stand in the window where they were. */
  test("a start and a window are drawn", async () => {
    const { page, close } = await open(at("streams?sort=splices-"));
    await firstStream(page);
    const start = page.getByRole("list", { name: "Where the time of the start went" });
    for (const name of ["Wait for an engine", "Choice of it", "Engine's answer", "First media", "First byte to the player"]) await start.getByText(name, { exact: true }).waitFor();
    const [answer, media] = [await start.locator(".waterfall-engine_start").boundingBox(), await start.locator(".waterfall-first_byte").boundingBox()];
    expect((media?.x ?? 0) - (answer?.x ?? 0)).toBeGreaterThan(20);
    await page.locator(".timeline-splice").first().waitFor();
    expect(await page.locator(".timeline-access").count()).toBeGreaterThan(5);
    await page.getByText(/Another source carried on .* behind/).first().waitFor({ state: "attached" });
    await page.getByText(/1 splice\b|\d splices/).waitFor();
    await close();
  });

  /** Guards: a channel with several ids says which one plays, what it left and why, and how a race at its start went. */
  test("the ids of a channel", async () => {
    const { page, close } = await open(at("streams"));
    await page.getByRole("searchbox").fill("Sports One");
    await firstStream(page);
    const channel = page.getByRole("region", { name: "Ids of the channel" });
    for (const text of ["Sports One", "the second id was quicker", "1 time", "No engine found the content", "the engine does not find it"]) await channel.getByText(text).first().waitFor();
    expect(await channel.locator("li").nth(1).textContent()).toContain("plays");
    await close();
  });
});

describe("what happened and how it went", () => {
  /** Guards: parity 25: counts by kind, and details that name the stream and the engine. */
  test("the log counts and names", async () => {
    const { page, close } = await open(at("log"));
    const counts: Record<string, number> = {};
    for (const kind of ["All", "Engine", "Stream", "VPN", "Health", "System"]) counts[kind] = Number(/\d+/.exec((await page.getByRole("button", { name: new RegExp(`^${kind} \\d`) }).textContent()) ?? "")?.[0]);
    const { All: all = 0, ...kinds } = counts;
    expect(Object.values(kinds).reduce((sum, n) => sum + n)).toBe(all);
    // Newest first, each of the kind that is chosen, and read anew when that is asked for.
    const times = async () => page.locator(".log-entry time").evaluateAll((shown) => shown.map((time) => Date.parse(time.getAttribute("datetime") ?? "")));
    await until("entries are shown", async () => (await times()).length === 100);
    expect(await times()).toEqual([...(await times())].sort((one, other) => other - one));
    await page.getByRole("button", { name: /^Stream \d/ }).click();
    await until("only those", async () => new Set(await page.locator(".log-entry .tag").allTextContents()).size === 1);
    await page.getByRole("button", { name: "Look now" }).click();
    await page.locator(".log-about a[href*='/streams/']").first().waitFor();
    await page.locator(".log-about a[href*='/engine/']").first().waitFor();
    await close();
  });

  /** Guards: parity 28: transfer, streams, engines in use and peers over the time chosen, from before the page was opened; totals that say since when; the raw exposition. */
  test("figures over time", async () => {
    const { page, faults, close } = await open(at("metrics"));
    for (const name of ["Players", "Throughput", "Streams", "Swarm", "Peers"]) await page.getByRole("img", { name: new RegExp(`^${name}: newest`) }).waitFor();
    await page.getByText("engines in use").waitFor();
    await page.getByText("a point every 5 s").waitFor();
    for (const [seconds, every] of [["300", "5 s"], ["3600", "5 s"], ["21600", "60 s"], ["86400", "60 s"]] as const) {
      await page.getByLabel("Last").selectOption(seconds);
      await page.getByText(`a point every ${every}`).waitFor();
    }
    expect(page.url()).toContain("window=86400");
    await page.getByText(/Since the appliance started, .*\d{4}/).waitFor();
    await fact(page, "to players").filter({ hasText: /[KMGT]iB/ }).waitFor();
    await page.getByText("Everything, as Prometheus reads it").click();
    await page.locator("pre.raw").getByText("sluice_clients").first().waitFor();
    expect(faults).toEqual([]);
    await close();
  });
});
