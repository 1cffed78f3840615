// Finds out where the panel is mounted and puts it on the page. The API has a thread of its own.
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { remote, worker } from "./api/remote";
import { App, services } from "./app";
import { base } from "./router";
import "./styles/index.css";

export function mount(thread: () => Worker): void {
  const root = base();
  // The page's base is written relative to its first address; fixed here before the address changes.
  document.querySelector("base")?.setAttribute("href", root.href);
  const element = document.getElementById("root");
  if (!element) throw new Error("the page has no root");
  const api = remote(worker(thread()), new URL("..", root), location.search);
  createRoot(element).render(
    <StrictMode>
      <App root={root} services={services(api)} />
    </StrictMode>,
  );
}
