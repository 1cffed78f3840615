// The thread in which the invented appliance lives. `?scene=` of the page chooses what goes wrong.
import { host } from "../host";
import { MockApi } from "./mock";

host((root, query) => new MockApi(query.get("scene") ?? "busy", root));
