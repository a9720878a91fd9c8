// Made of docs/openapi.json by `make typescript`; its SHA-256: 4b61dee6338b8e8c10133d5170dd634aafa82866898d11d8433dea298ac38b28
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
