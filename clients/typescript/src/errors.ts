import type { components } from "./schema.js";
import type { FieldFault } from "./types.js";

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
  /** All of it, with values such as `job_id`. */
  readonly problem: Problem;
  /** Seconds after which to try again, if the gateway says so. */
  readonly retryAfter: number | undefined;

  constructor(problem: Problem, retryAfter?: number) {
    super(problem.detail);
    this.problem = problem;
    this.retryAfter = retryAfter;
  }

  get type(): Problem["type"] {
    return this.problem.type;
  }

  get status(): number {
    return this.problem.status;
  }

  /** The fields at fault, if any are. */
  get errors(): readonly FieldFault[] {
    return this.problem.errors ?? [];
  }
}

export class NotAllowed extends ProblemError {}
export class InvalidRequest extends ProblemError {}
export class InvalidJob extends InvalidRequest {}
export class InvalidBatch extends InvalidRequest {}
export class InvalidGroup extends InvalidRequest {}
export class InvalidKeyLimit extends InvalidRequest {}
export class InvalidBudget extends InvalidRequest {}
export class InvalidLimits extends InvalidRequest {}
export class UnknownAccount extends InvalidRequest {}
export class UnknownCall extends ProblemError {}
export class BodyNotReceived extends ProblemError {}
export class NotFound extends ProblemError {}
export class JobNotFound extends NotFound {}
export class BatchNotFound extends NotFound {}
export class Conflict extends ProblemError {}
export class IdempotencyConflict extends Conflict {}
export class BatchCanceled extends Conflict {}
export class BatchExpired extends Conflict {}
export class BatchMismatch extends Conflict {}
export class UploadDiscarded extends Conflict {}
export class TooManyRequests extends ProblemError {}
export class QuotaReached extends TooManyRequests {}
export class QueueUnavailable extends ProblemError {}
export class QueueFull extends QueueUnavailable {}
export class OtherFormat extends QueueUnavailable {}
export class EvictingRedis extends QueueUnavailable {}

/** The class of each type: the compiler refuses a table that lacks one. */
const CLASSES: Record<Problem["type"], typeof ProblemError> = {
  "urn:runqueue:problem:token-unknown": NotAllowed,
  "urn:runqueue:problem:scope-missing": NotAllowed,
  "urn:runqueue:problem:accounts-limited": NotAllowed,
  "urn:runqueue:problem:too-many-wrong-tokens": TooManyRequests,
  "urn:runqueue:problem:invalid-request": InvalidRequest,
  "urn:runqueue:problem:invalid-job": InvalidJob,
  "urn:runqueue:problem:invalid-batch": InvalidBatch,
  "urn:runqueue:problem:invalid-group": InvalidGroup,
  "urn:runqueue:problem:invalid-key-limit": InvalidKeyLimit,
  "urn:runqueue:problem:invalid-budget": InvalidBudget,
  "urn:runqueue:problem:invalid-limits": InvalidLimits,
  "urn:runqueue:problem:unknown-account": UnknownAccount,
  "urn:runqueue:problem:address-not-found": UnknownCall,
  "urn:runqueue:problem:method-not-allowed": UnknownCall,
  "urn:runqueue:problem:body-incomplete": BodyNotReceived,
  "urn:runqueue:problem:body-timeout": BodyNotReceived,
  "urn:runqueue:problem:body-too-large": InvalidRequest,
  "urn:runqueue:problem:unsupported-media-type": InvalidRequest,
  "urn:runqueue:problem:job-not-found": JobNotFound,
  "urn:runqueue:problem:batch-not-found": BatchNotFound,
  "urn:runqueue:problem:idempotency-conflict": IdempotencyConflict,
  "urn:runqueue:problem:batch-canceled": BatchCanceled,
  "urn:runqueue:problem:batch-expired": BatchExpired,
  "urn:runqueue:problem:batch-mismatch": BatchMismatch,
  "urn:runqueue:problem:upload-discarded": UploadDiscarded,
  "urn:runqueue:problem:not-confirmable": Conflict,
  "urn:runqueue:problem:too-much-in-flight": TooManyRequests,
  "urn:runqueue:problem:rate-limited": TooManyRequests,
  "urn:runqueue:problem:quota-reached": QuotaReached,
  "urn:runqueue:problem:queue-unavailable": QueueUnavailable,
  "urn:runqueue:problem:queue-full": QueueFull,
  "urn:runqueue:problem:other-format": OtherFormat,
  "urn:runqueue:problem:evicting-redis": EvictingRedis,
  "urn:runqueue:problem:data-damaged": QueueUnavailable,
  "urn:runqueue:problem:disk-full": QueueUnavailable,
  "urn:runqueue:problem:internal-error": QueueUnavailable,
  "urn:runqueue:problem:wrong-signature": NotAllowed,
  "urn:runqueue:problem:run-mismatch": Conflict,
};

/** What a status means whose type is none of the table: the gateway may be newer. */
const OF_STATUS: Readonly<Record<number, typeof ProblemError>> = {
  ...{ 401: NotAllowed, 403: NotAllowed, 404: NotFound, 409: Conflict, 413: InvalidRequest },
  ...{ 422: InvalidRequest, 429: TooManyRequests, 500: QueueUnavailable, 503: QueueUnavailable },
};

/** Returns an answer that is no success as an error. */
export async function errorOf(answer: Response): Promise<RunqueueError> {
  const after = answer.headers.get("retry-after") ?? "";
  const retryAfter = /^\d{1,9}$/.test(after) ? Number(after) : undefined;
  if (answer.headers.get("content-type")?.startsWith("application/problem+json")) {
    const given = (await answer.json().catch(() => null)) as Partial<Problem> | null;
    const detail = String(given?.detail ?? given?.title ?? "");
    const problem = { ...given, detail, status: answer.status } as Problem;
    const known = Object.hasOwn(CLASSES, problem.type) ? CLASSES[problem.type] : undefined;
    return new (known ?? OF_STATUS[answer.status] ?? ProblemError)(problem, retryAfter);
  }
  return new GatewayUnavailable(`answered ${answer.status}, not as a gateway does`);
}
