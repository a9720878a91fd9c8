// Made of docs/openapi.json by `make typescript`; its SHA-256: 1f9e04418b10253bfd93d16cee7722a281999d9c8f5a4a845e218f2c6c5dd7f6
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
