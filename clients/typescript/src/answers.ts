// Made of docs/openapi.json by `make typescript`; its SHA-256: b53bd38712dbfecbbccd2ddaf87eb1b9d347f012d5fee9cce43a829f995d198d
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
