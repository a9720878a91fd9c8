// Made of docs/openapi.json by `make typescript`; its SHA-256: 13dd3d1a6ac9e958a5ba17630017f113c34dc3f660ccc39535a81befcd98fd45
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
