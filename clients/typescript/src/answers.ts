// Made of docs/openapi.json by `make typescript`; its SHA-256: ccc8e3f4c59e81e8b0382e7e5667b7834edc57958d00fe711e8814f9a269a5e2
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
