// Made of docs/openapi.json by `make typescript`; its SHA-256: 8d983f41301fe9ec33a970ad6e572eeaf98f4007f9fbe35c2cff546d3cfe4170
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
