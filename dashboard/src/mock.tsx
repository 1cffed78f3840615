// The panel on invented data, whole, without an appliance. `?scene=` chooses what goes wrong; see api/mock/scenes.ts.
import { MockApi } from "./api/mock/mock";
import { mount } from "./mount";

mount((root) => new MockApi(new URLSearchParams(location.search).get("scene") ?? "busy", root));
