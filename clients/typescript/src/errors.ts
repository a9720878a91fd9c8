import type { components } from "./schema.js";
import type { FieldFault } from "./types.js";

type Problem = components["schemas"]["Problem"];

/** Anything that this client throws of its own. */
export class RunqueueError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The gateway does not answer, or not as a gateway does. */
export class GatewayUnavailable extends RunqueueError {}

/** A webhook is not signed by one of the secrets, or is too old. */
export class WebhookError extends RunqueueError {}

/** A refusal of the gateway (RFC 9457). */
export class ProblemError extends RunqueueError {
  readonly type: string;
  readonly status: number;
  /** The fields at fault, if any are. */
  readonly errors: readonly FieldFault[];
  /** Seconds after which to try again, if the gateway says so. */
  readonly retryAfter: number | undefined;

  constructor(problem: Problem, retryAfter: number | undefined) {
    super(problem.detail);
    this.type = problem.type ?? "about:blank";
    this.status = problem.status;
    this.errors = problem.errors ?? [];
    this.retryAfter = retryAfter;
  }
}

/** Returns an answer that is no success as an error. */
export async function errorOf(answer: Response): Promise<RunqueueError> {
  const after = answer.headers.get("retry-after") ?? "";
  const retryAfter = /^\d{1,9}$/.test(after) ? Number(after) : undefined;
  try {
    const problem = (await answer.json()) as Problem;
    if (typeof problem.detail === "string") return new ProblemError(problem, retryAfter);
  } catch {
    // The answer is no problem of a gateway's.
  }
  return new GatewayUnavailable(`answered ${answer.status}, not as a gateway does`);
}
