// Made of docs/openapi.json by `make typescript`; its SHA-256: c7f4898db43213d5bcff2332c7e0c6ba5631c8ba6915f8934299fa766b52efa7
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
