// Finds out where the panel is mounted and puts it on the page.
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import type { Api } from "./api/api";
import { App, services } from "./app";
import { base } from "./router";
import "./styles/index.css";

export function mount(api: (root: URL) => Api): void {
  const root = base();
  // The page's base is written relative to its first address; fixed here before the address changes.
  document.querySelector("base")?.setAttribute("href", root.href);
  const element = document.getElementById("root");
  if (!element) throw new Error("the page has no root");
  createRoot(element).render(
    <StrictMode>
      <App root={root} services={services(api(root))} />
    </StrictMode>,
  );
}
