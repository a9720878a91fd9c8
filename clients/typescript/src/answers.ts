// Made of docs/openapi.json by `make typescript`; its SHA-256: a01440a3277e76a2902ac21392fac6b9081c9c9572fd925780a26b83c6a92a0e
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
