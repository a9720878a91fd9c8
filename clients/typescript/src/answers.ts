// Made of docs/openapi.json by `make typescript`; its SHA-256: 6c16ad3798e1f07efba0d4530219c4b0dea18c42ac14d25144627f7c00095ed8
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
