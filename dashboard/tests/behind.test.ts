// The real binary behind a reverse proxy with TLS and below a path: the panel works there, and says what is cut in between.
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { start, type Appliance } from "./support/appliance";
import { launch, open, until } from "./support/browser";
import { proxy, type Proxy } from "./support/proxy";

const KEY = "a-key-of-the-tests";
let browser: Browser;
let appliance: Appliance;
let front: Proxy;

beforeAll(async () => {
  [browser, appliance] = await Promise.all([launch(), start({ API_KEY: KEY, WARM_CHANNELS: "0" })]);
  front = await proxy(appliance.url);
});

afterAll(async () => {
  await browser?.close();
  await front?.close();
  await appliance?.stop();
});

const opened = (path: string) => open(browser, `${front.url}panel/${path}`, { ignoreHTTPSErrors: true });

/** Guards: every page is reached by its link and by its address, asks for nothing outside its path, and the session's cookie is for TLS alone and for no script. */
test("every page works below a path, over TLS", async () => {
  const { page, faults, close } = await opened("");
  const outside: string[] = [];
  page.on("request", (asked) => {
    if (asked.url().startsWith("http") && !asked.url().startsWith(front.url)) outside.push(asked.url());
  });
  for (const name of ["Streams", "Watch", "Engines", "Events", "Metrics", "Settings", "Doctor", "Overview"]) {
    await page.getByLabel("Pages").getByRole("link", { name, exact: true }).click();
    await page.getByRole("heading", { level: 1, name, exact: true }).waitFor();
    expect(page.url()).toMatch(new RegExp(`^${front.url}panel/`));
    await page.reload();
    await page.getByRole("heading", { level: 1, name, exact: true }).waitFor();
  }
  await page.goto(`${front.url}panel/watch/${appliance.ids[0]}`);
  await until("the picture moves", () => page.evaluate(() => (document.querySelector("video")?.currentTime ?? 0) > 0.5));
  expect(await page.locator(".links code").first().textContent()).toBe(`${front.url}ace/getstream?id=${appliance.ids[0]}`);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("dialog").getByLabel("API key").fill(KEY);
  await page.getByRole("dialog").getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  const [cookie, ...others] = await page.context().cookies();
  expect([cookie?.httpOnly, cookie?.secure, cookie?.sameSite, others.length]).toEqual([true, true, "Strict", 0]);
  expect([outside, faults]).toEqual([[], []]);
  await close();
});

/** Guards: a session that is over in the middle of something asks for the key, loses nothing of what was typed, and goes on. */
test("a session that ends loses nothing", async () => {
  const { page, close } = await opened("settings");
  const signIn = async () => {
    const dialog = page.getByRole("dialog", { name: "Sign in with the API key" });
    await dialog.getByLabel("API key").fill(KEY);
    await dialog.getByRole("button", { name: "Sign in" }).click();
    await dialog.waitFor({ state: "hidden" });
  };
  await page.getByRole("button", { name: "Sign in" }).click();
  await signIn();
  await page.getByLabel("Join distance").fill("7");
  await page.context().clearCookies();
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await signIn();
  expect(await page.getByLabel("Join distance").inputValue()).toBe("7");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.locator(".setting", { hasText: "Join distance" }).getByText("changed here").waitFor();
  // A file that is too large for the appliance is refused in its words, over whatever lies in between.
  await page.getByLabel("Backup file (ZIP)").setInputFiles({ name: "large.zip", mimeType: "application/zip", buffer: Buffer.concat([Buffer.from("PK"), Buffer.alloc(5 << 20, 1)]) });
  await page.getByRole("button", { name: "Restore what is chosen" }).click();
  await page.getByRole("region", { name: "Backup" }).getByText(/larger|too large|exceeds/).waitFor();
  await close();
});

/** Guards: while following is cut the page says so and asks instead; when it can follow again it goes on where it was, and what happened meanwhile is told. */
test("following that is cut goes on where it was", async () => {
  const { page, faults, close } = await opened("log");
  const status = page.locator(".live");
  const says = (text: string) => until(text, async () => (await status.textContent())?.includes(text) ?? false);
  await says("Live");
  const before = front.heads("events/stream").length;
  front.cut("events/stream");
  await says("Not live, asking");
  const drain = (method: string) => fetch(`${appliance.url}engines/${encodeURIComponent(engine)}/drain`, { method, headers: { Authorization: `Bearer ${KEY}` } });
  const [first] = (await (await fetch(`${appliance.url}engines`)).json()) as { container_id: string }[];
  const engine = first?.container_id ?? "";
  expect((await drain("POST")).ok).toBe(true);
  front.mend();
  await says("Live");
  await page.getByText("An engine was drained by hand").first().waitFor();
  expect((await drain("DELETE")).ok).toBe(true);
  await page.getByText("A drained engine is used again").first().waitFor();
  expect(front.heads("events/stream").at(before)?.["last-event-id"]).toMatch(/./);
  expect(faults).toEqual([]);
  await close();
});

/** Guards: an appliance that is gone is said to be gone, what it told last stays and is grey, and when it is back the page is live by itself. */
test("an appliance that is gone and comes back", async () => {
  const { page, close } = await opened("");
  const status = page.locator(".live");
  const says = (text: string) => until(text, async () => (await status.textContent())?.includes(text) ?? false);
  await says("Live");
  const engines = page.locator(".number").nth(3);
  await until("the engines are known", async () => Number(await engines.locator(".big").textContent()) > 0);
  const known = await engines.locator(".big").textContent();
  front.cut("");
  await page.getByRole("alert").getByText("The appliance does not answer").waitFor();
  await until("it is grey", async () => (await engines.getAttribute("class"))?.includes("stale") ?? false);
  expect(await engines.locator(".big").textContent()).toBe(known);
  front.mend();
  await says("Live");
  await until("it is fresh", async () => !((await engines.getAttribute("class"))?.includes("stale") ?? true));
  await page.getByRole("alert").waitFor({ state: "hidden" });
  await close();
});
