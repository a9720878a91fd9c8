import type { components } from "./schema.js";

/** A refusal of the gateway as it comes (RFC 9457). */
export type Problem = components["schemas"]["Problem"];

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

/** A refusal of the gateway. */
export class ProblemError extends RunqueueError {
  readonly type: Problem["type"];
  readonly status: number;
  /** The fields at fault, if any are. */
  readonly errors: NonNullable<Problem["errors"]>;

  /**
   * @param problem all of it, with values such as `job_id`
   * @param retryAfterMs milliseconds after which to try again, if the gateway says so
   */
  constructor(
    readonly problem: Problem,
    readonly retryAfterMs?: number,
  ) {
    super(problem.detail);
    this.type = problem.type;
    this.status = problem.status;
    this.errors = problem.errors ?? [];
  }
}
