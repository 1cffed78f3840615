// The pages of engines on an appliance that keeps engines in a real Docker: begun by the tests of engines in Docker, which name it.
// By itself this does nothing.
import { expect, test } from "vitest";
import { launch, open, until } from "./support/browser";

const url = process.env["SLUICE_DOCKER_PANEL"];

/** Guards: journey: an engine is added, seen to come up with what its container uses and wrote, drained, used again and removed, all of it in the page; bounds and room are the appliance's. */
test.runIf(url)("engines in a real Docker are kept by the page", async () => {
  const browser = await launch();
  const { page, faults, close } = await open(browser, `${url}panel/engines`);
  const fleet = page.getByRole("region", { name: "Fleet" });
  await fleet.getByText("1 to 2").waitFor();
  const ready = () => page.locator(".table-body .table-row", { hasText: "Ready" });
  await until("the first engine is ready", async () => (await ready().count()) === 1);
  await fleet.getByRole("button", { name: "Add engine" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Add engine" }).click();
  await page.locator(".toasts").getByText(/Engine acestream-\d was started/).waitFor();
  await until("the second is ready", async () => (await ready().count()) === 2);
  await fleet.getByText("MAX_REPLICAS").waitFor();
  await page.locator(".table-body .table-row", { hasText: /[KM]iB/ }).nth(1).waitFor();

  await ready().nth(1).click();
  await page.getByText("% of a core").first().waitFor();
  await page.getByRole("button", { name: "Show" }).click();
  await page.locator("pre.raw").or(page.getByText("It wrote nothing.")).first().waitFor();
  await page.getByRole("button", { name: "Drain" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Drain" }).click();
  await page.getByRole("button", { name: "Use again" }).click();
  await page.getByRole("button", { name: "Drain" }).waitFor();
  await page.getByRole("button", { name: "Empty and remove" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Empty and remove" }).click();
  await page.locator(".toasts").getByText("is removed").waitFor();
  await page.getByText("There is no such engine").waitFor();
  await page.getByText("An engine was removed by hand").first().waitFor();
  expect(faults).toEqual([]);
  await close();
  await browser.close();
});
