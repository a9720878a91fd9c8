// Made of docs/openapi.json by `make typescript`; its SHA-256: 4e1e8098d873e4f49c5d59c6be2ccdd8b41c896c41c916c999f325be1a97d01c
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
