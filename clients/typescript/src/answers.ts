// Made of docs/openapi.json by `make typescript`; its SHA-256: 0daaf8a7dc16f8f5cd5227e3b9c9b063f4ddd4fab5c87304d762ae03afae1e6a
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
