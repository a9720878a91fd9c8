import type { Client, MaybeOptionalInit, MethodResponse } from "openapi-fetch";
import type { HttpMethod, PathsWithMethod, RequiredKeysOf } from "openapi-typescript-helpers";
import type { components, paths } from "./schema.js";

type Json<Answer> = Answer extends { content: { "application/json": infer Body } } ? Body : never;

/** A job to submit: a line of a batch file. */
export type Line = components["schemas"]["Line"];
export type Job = Json<paths["/v1/jobs/{job_id}"]["get"]["responses"][200]>;
export type JobState = components["schemas"]["JobState"];
export type Batch = Json<paths["/v1/batches/{batch_id}"]["get"]["responses"][200]>;
/** The answers to one submitted job, and to an upload. */
export type Enqueued = Json<paths["/v1/jobs"]["post"]["responses"][202]>;
export type Uploaded = Json<paths["/v1/batches"]["post"]["responses"][201]>;
/** The ids of some jobs, or a batch whose upload is over. */
export type Jobs = Iterable<string> | { batch_id: string | null };
/** What an upload may say of its batch. */
export type BatchOptions = NonNullable<paths["/v1/batches"]["post"]["parameters"]["query"]>;

/** A call of openapi-fetch that returns the answer's data, and throws what is no success. */
export type Call<Method extends HttpMethod> = <
  Path extends PathsWithMethod<paths, Method>,
  Init extends MaybeOptionalInit<paths[Path], Method>,
>(
  path: Path,
  ...init: RequiredKeysOf<Init> extends never ? [init?: Init] : [init: Init]
) => Promise<MethodResponse<Client<paths>, Method, Path, Init>>;

export interface Waiting {
  /** Ends the wait; it rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Milliseconds after which the wait rejects with a `TimeoutError`; over 24 days: none. */
  timeoutMs?: number | undefined;
}

/** Whether a job has ended. */
export function isOver(job: { state: JobState | null }): boolean {
  return ["completed", "failed", "canceled", "dead"].includes(job.state ?? "");
}
