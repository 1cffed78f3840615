// The panel on a real appliance.
import { NetworkApi } from "./api/network";
import { mount } from "./mount";

mount((root) => new NetworkApi(new URL("..", root)));
