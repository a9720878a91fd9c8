// Made of docs/openapi.json by `make typescript`; its SHA-256: b7ce8b63fb107f63f3b570965cc428d720c13505811585f3d38229356fcf0aee
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
