// Made of docs/openapi.json by `make typescript`; its SHA-256: 254d32fa5d9af72785da1dd16801192f7c5bbd79d8b017418f541a7668c58c22
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
