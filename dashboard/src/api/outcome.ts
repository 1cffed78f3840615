// What a call comes to. Calls never throw: whoever calls has to say what happens in each case.

/** Why a call failed, in the classes a person can do something about. */
export type FaultKind =
  /** Nobody answered: the appliance or the network is down. */
  | "unreachable"
  /** No answer in time. */
  | "timeout"
  /** A key is needed and none was shown, or the session is over. */
  | "key_missing"
  /** The key is wrong. */
  | "key_wrong"
  /** This version of the API has no such route. */
  | "no_route"
  /** The thing named is not there. */
  | "not_found"
  /** The request was refused; the message says why. */
  | "refused"
  /** The appliance failed inside, or its answer was not understood. */
  | "broken";

export interface Fault {
  kind: FaultKind;
  /** The server's own words where it had some. */
  message: string;
  /** HTTP status, where there was one. */
  status?: number;
  /** Messages by field, from a 422. */
  fields?: Record<string, string>;
}

export type Outcome<T> =
  | { status: "success"; value: T }
  | { status: "aborted" }
  | { status: "error"; fault: Fault };

export const success = <T>(value: T): Outcome<T> => ({ status: "success", value });
export const failure = (fault: Fault): Outcome<never> => ({ status: "error", fault });
export const aborted: Outcome<never> = { status: "aborted" };

/** The value read with `read`, or whatever else the call came to. */
export function mapped<T, U>(outcome: Outcome<T>, read: (value: T) => U): Outcome<U> {
  if (outcome.status !== "success") return outcome;
  try {
    return success(read(outcome.value));
  } catch (error) {
    return failure({ kind: "broken", message: error instanceof Error ? error.message : String(error) });
  }
}
