// Whether this browser may change things. The key itself goes to the appliance once and is kept nowhere here; a cookie that no
// script can read stands for it.
import type { Api, Standing } from "../api/api";
import type { Fault } from "../api/outcome";
import { Store } from "./store";

export interface SessionState {
  /** `null` while it is not known, or when the appliance has no signing in. */
  standing: Standing | null;
  /** Whether somebody is asked for the key. */
  isAsking: boolean;
}

export class Session {
  readonly state = new Store<SessionState>({ standing: null, isAsking: false });

  constructor(private readonly api: Api) {}

  async look(): Promise<void> {
    const outcome = await this.api.standing(new AbortController().signal);
    if (outcome.status === "success") this.state.update((state) => ({ ...state, standing: outcome.value }));
  }

  ask = (): void => this.state.update((state) => ({ ...state, isAsking: true }));
  dismiss = (): void => this.state.update((state) => ({ ...state, isAsking: false }));

  /** Signs in; what went wrong, if something did. */
  async signIn(key: string): Promise<Fault | null> {
    const outcome = await this.api.signIn(key);
    if (outcome.status === "error") return outcome.fault;
    await this.look();
    this.dismiss();
    return null;
  }

  async signOut(): Promise<void> {
    await this.api.signOut();
    await this.look();
  }

  /** A call was refused for want of the key: the session is over, or there never was one. */
  refused(fault: Fault): void {
    if (fault.kind !== "key_missing" && fault.kind !== "key_wrong") return;
    void this.look();
    this.ask();
  }
}
