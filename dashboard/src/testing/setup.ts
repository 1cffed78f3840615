// Before each unit test: no network. A request nobody foresaw fails the test that made it.
import { cleanup } from "@testing-library/react";
import { afterEach, beforeEach, expect, vi } from "vitest";

let unforeseen: string[] = [];

beforeEach(() => {
  unforeseen = [];
  vi.stubGlobal("fetch", (input: RequestInfo | URL) => {
    unforeseen.push(String(input));
    return Promise.reject(new Error(`unforeseen request: ${String(input)}`));
  });
  vi.stubGlobal(
    "ResizeObserver",
    class {
      observe() {}
      unobserve() {}
      disconnect() {}
    },
  );
  HTMLDialogElement.prototype.showModal = function () {
    this.setAttribute("open", "");
  };
  HTMLDialogElement.prototype.close = function () {
    this.removeAttribute("open");
  };
  window.scrollTo = () => undefined;
});

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
  expect(unforeseen).toEqual([]);
});
