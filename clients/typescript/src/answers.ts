// Made of docs/openapi.json by `make typescript`; its SHA-256: 432a590816b004ba9ab1f5476e94b5087ccbe34556b41d2b2368e6ae5ce65847
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
