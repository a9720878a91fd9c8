// Made of docs/openapi.json by `make typescript`; its SHA-256: 9711fa4ff74226705e703a8bba1510c7e4236f4a0dab6562cba72bb6e7563ae1
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
