// Made of docs/openapi.json by `make typescript`; its SHA-256: 0c1e6e1743bed35b0b3836985ade94ba81784cc7693b0f68206b5c7192f2e6f8
import { ProblemError } from "./errors.js";

/** 401, 403. */
export class NotAllowed extends ProblemError {}
/** 404. */
export class NotFound extends ProblemError {}
/** 409. */
export class Conflict extends ProblemError {}
/** 400, 408, 413, 415, 422. */
export class BadRequest extends ProblemError {}
/** 429. */
export class TooManyRequests extends ProblemError {}
/** 500, 503. */
export class Unavailable extends ProblemError {}
/** No known token was sent. */
export class TokenUnknown extends NotAllowed {}
/** The token lacks the scope. */
export class ScopeMissing extends NotAllowed {}
/** The token is not for all accounts. */
export class AccountsLimited extends NotAllowed {}
/** Too many wrong tokens were sent. */
export class TooManyWrongTokens extends TooManyRequests {}
/** Fields or parameters are wrong. */
export class InvalidRequest extends BadRequest {}
/** Fields of jobs are wrong. */
export class InvalidJob extends BadRequest {}
/** The batch's rules are wrong. */
export class InvalidBatch extends BadRequest {}
/** The group's settings are wrong. */
export class InvalidGroup extends BadRequest {}
/** The key's limit cannot be set. */
export class InvalidKeyLimit extends BadRequest {}
/** The budget cannot be set. */
export class InvalidBudget extends BadRequest {}
/** The account's limits are wrong. */
export class InvalidLimits extends BadRequest {}
/** No account of this name is known. */
export class UnknownAccount extends BadRequest {}
/** Nothing is at this address. */
export class AddressNotFound extends ProblemError {}
/** The address does not take this method. */
export class MethodNotAllowed extends ProblemError {}
/** The body broke off. */
export class BodyIncomplete extends BadRequest {}
/** The body came too slowly. */
export class BodyTimeout extends BadRequest {}
/** The body is over a limit. */
export class BodyTooLarge extends BadRequest {}
/** The body has an unknown type or encoding. */
export class UnsupportedMediaType extends BadRequest {}
/** No such job is on record. */
export class JobNotFound extends NotFound {}
/** The archive alone has the job's result. */
export class JobArchived extends Conflict {}
/** No such batch is on record. */
export class BatchNotFound extends NotFound {}
/** The key has another request. */
export class IdempotencyConflict extends Conflict {}
/** The batch was canceled. */
export class BatchCanceled extends Conflict {}
/** The batch expired before it was sealed. */
export class BatchExpired extends Conflict {}
/** The batch lacks jobs: another upload has them. */
export class BatchMismatch extends Conflict {}
/** The upload was discarded before its end. */
export class UploadDiscarded extends Conflict {}
/** There is no such schedule. */
export class ScheduleNotFound extends NotFound {}
/** The job has not ended, or has no webhook. */
export class NotConfirmable extends Conflict {}
/** The token has too much in flight. */
export class TooMuchInFlight extends TooManyRequests {}
/** Too many jobs or bytes wait. */
export class QuotaReached extends TooManyRequests {}
/** The queue cannot be reached. */
export class QueueUnavailable extends Unavailable {}
/** The archive cannot be read. */
export class ArchiveUnavailable extends Unavailable {}
/** Redis is out of memory. */
export class QueueFull extends Unavailable {}
/** Redis holds another version's format. */
export class OtherFormat extends Unavailable {}
/** Redis evicts keys. */
export class EvictingRedis extends Unavailable {}
/** The account's data cannot be read. */
export class DataDamaged extends Unavailable {}
/** The gateway's disk is full. */
export class DiskFull extends Unavailable {}
/** The gateway failed. */
export class InternalError extends Unavailable {}
/** The signature is wrong. */
export class WrongSignature extends ProblemError {}
/** The run is another job's or attempt's. */
export class RunMismatch extends ProblemError {}

/** The class of each type, and of each status. */
export const CLASSES = new Map<string | number, typeof ProblemError>([
  [401, NotAllowed],
  [403, NotAllowed],
  [404, NotFound],
  [409, Conflict],
  [400, BadRequest],
  [408, BadRequest],
  [413, BadRequest],
  [415, BadRequest],
  [422, BadRequest],
  [429, TooManyRequests],
  [500, Unavailable],
  [503, Unavailable],
  ["urn:runqueue:problem:token-unknown", TokenUnknown],
  ["urn:runqueue:problem:scope-missing", ScopeMissing],
  ["urn:runqueue:problem:accounts-limited", AccountsLimited],
  ["urn:runqueue:problem:too-many-wrong-tokens", TooManyWrongTokens],
  ["urn:runqueue:problem:invalid-request", InvalidRequest],
  ["urn:runqueue:problem:invalid-job", InvalidJob],
  ["urn:runqueue:problem:invalid-batch", InvalidBatch],
  ["urn:runqueue:problem:invalid-group", InvalidGroup],
  ["urn:runqueue:problem:invalid-key-limit", InvalidKeyLimit],
  ["urn:runqueue:problem:invalid-budget", InvalidBudget],
  ["urn:runqueue:problem:invalid-limits", InvalidLimits],
  ["urn:runqueue:problem:unknown-account", UnknownAccount],
  ["urn:runqueue:problem:address-not-found", AddressNotFound],
  ["urn:runqueue:problem:method-not-allowed", MethodNotAllowed],
  ["urn:runqueue:problem:body-incomplete", BodyIncomplete],
  ["urn:runqueue:problem:body-timeout", BodyTimeout],
  ["urn:runqueue:problem:body-too-large", BodyTooLarge],
  ["urn:runqueue:problem:unsupported-media-type", UnsupportedMediaType],
  ["urn:runqueue:problem:job-not-found", JobNotFound],
  ["urn:runqueue:problem:job-archived", JobArchived],
  ["urn:runqueue:problem:batch-not-found", BatchNotFound],
  ["urn:runqueue:problem:idempotency-conflict", IdempotencyConflict],
  ["urn:runqueue:problem:batch-canceled", BatchCanceled],
  ["urn:runqueue:problem:batch-expired", BatchExpired],
  ["urn:runqueue:problem:batch-mismatch", BatchMismatch],
  ["urn:runqueue:problem:upload-discarded", UploadDiscarded],
  ["urn:runqueue:problem:schedule-not-found", ScheduleNotFound],
  ["urn:runqueue:problem:not-confirmable", NotConfirmable],
  ["urn:runqueue:problem:too-much-in-flight", TooMuchInFlight],
  ["urn:runqueue:problem:quota-reached", QuotaReached],
  ["urn:runqueue:problem:queue-unavailable", QueueUnavailable],
  ["urn:runqueue:problem:archive-unavailable", ArchiveUnavailable],
  ["urn:runqueue:problem:queue-full", QueueFull],
  ["urn:runqueue:problem:other-format", OtherFormat],
  ["urn:runqueue:problem:evicting-redis", EvictingRedis],
  ["urn:runqueue:problem:data-damaged", DataDamaged],
  ["urn:runqueue:problem:disk-full", DiskFull],
  ["urn:runqueue:problem:internal-error", InternalError],
  ["urn:runqueue:problem:wrong-signature", WrongSignature],
  ["urn:runqueue:problem:run-mismatch", RunMismatch],
]);
