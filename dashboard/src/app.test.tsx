import { act, fireEvent, render, screen, within } from "@testing-library/react";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MockApi } from "./api/mock/mock";
import { App, services } from "./app";
import { notices } from "./stores/notices";

const ROOT = new URL("/panel/", location.href);

beforeEach(() => {
  notices.set([]);
  history.replaceState(null, "", "/panel/");
});
afterEach(() => history.replaceState(null, "", "/"));

function show(scene: string, path = "") {
  history.replaceState(null, "", `/panel/${path}`);
  return render(<App root={ROOT} services={services(new MockApi(scene, new URL("..", ROOT)))} />);
}

/** Guards: the whole panel stands on its API interface: nothing else is asked, or this test fails. */
test("the overview shows what the API has", async () => {
  show("small");
  const band = await screen.findByRole("region", { name: "Last 15 minutes" });
  const channels = within(band).getByRole("heading", { name: "Channels" }).parentElement;
  await within(channels as HTMLElement).findByText("14");
  expect(document.title).toBe("Overview · Sluice");
});

/** Guards: unknown is unknown on the first look too. */
test("without an answer there is no figure", async () => {
  show("never");
  expect((await screen.findByRole("alert")).textContent).toContain("The appliance does not answer");
  for (const figure of document.querySelectorAll(".big")) expect(figure.textContent?.trim()).toBe("–");
});

/** Guards: pages are gone to without loading, by address, each with its title. */
test("links go to pages", async () => {
  show("small");
  fireEvent.click(screen.getByRole("link", { name: "Doctor" }));
  await screen.findByRole("heading", { name: "Doctor", level: 1 });
  expect([location.pathname, document.title]).toEqual(["/panel/doctor", "Doctor · Sluice"]);
  act(() => {
    history.replaceState(null, "", "/panel/nowhere");
    dispatchEvent(new PopStateEvent("popstate"));
  });
  await screen.findByRole("heading", { name: "There is no such page" });
});
