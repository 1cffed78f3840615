// The panel on invented data, whole, without an appliance. `?scene=` chooses what goes wrong; see api/mock/scenes.ts.
import { mount } from "./mount";

mount(() => new Worker(new URL("./api/mock/worker.ts", import.meta.url), { type: "module" }));
