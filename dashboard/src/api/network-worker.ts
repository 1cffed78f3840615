// The thread that talks to the appliance.
import { host } from "./host";
import { NetworkApi } from "./network";

host((root) => new NetworkApi(root));
