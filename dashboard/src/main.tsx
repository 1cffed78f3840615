// The panel on a real appliance.
import { mount } from "./mount";

mount(() => new Worker(new URL("./api/network-worker.ts", import.meta.url), { type: "module" }));
