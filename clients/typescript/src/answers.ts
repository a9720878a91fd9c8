// Made of docs/openapi.json by `make typescript`; its SHA-256: 79834d232e2deb52d036a847823793abfde63d4c92f3fefafd5d68d33b5ea2df
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
