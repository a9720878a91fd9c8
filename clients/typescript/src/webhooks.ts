import { createHmac, timingSafeEqual } from "node:crypto";
import { WebhookError } from "./errors.js";

export interface WebhookOptions {
  /** Seconds that a webhook's time may differ from the clock of this machine. */
  toleranceSeconds?: number | undefined;
  /** Unix seconds; the clock of this machine if it is not given. */
  now?: number | undefined;
}

/** Headers as `fetch` or Node have them. */
export type HeaderValues =
  | Iterable<[string, string]>
  | Record<string, string | string[] | undefined>;

/**
 * Checks a webhook's signature and age (standard-webhooks), and returns its body as JSON.
 *
 * @param body as it arrived: parsing and serializing it again changes its bytes
 * @param headers of the request
 * @param secrets `whsec_…`; of several, one has to fit
 * @throws WebhookError it is not ours, or too old
 * @throws TypeError a secret is none
 */
export function verifyWebhook(
  body: string | Uint8Array,
  headers: HeaderValues,
  secrets: string | readonly string[],
  { toleranceSeconds = 300, now = Date.now() / 1000 }: WebhookOptions = {},
): unknown {
  const named = (name: string) => valueOf(headers, `webhook-${name}`);
  const [id, timestamp, given] = ["id", "timestamp", "signature"].map(named);
  const age = now - Number(timestamp); // NaN, which fits no tolerance, if it is no number
  if (!(Math.abs(age) <= toleranceSeconds)) throw new WebhookError(`it was signed ${age} s ago`);
  const signatures = (given ?? "").split(" ").map((one) => Buffer.from(one));
  const keys = [secrets].flat().map((secret) => secret.replace(/^whsec_/, ""));
  if (keys.length === 0 || !keys.every((key) => /^[A-Za-z0-9+/]{32,86}={0,2}$/.test(key)))
    throw new TypeError("expected secrets, each whsec_ and 24 to 64 bytes in base64");
  const isOurs = keys.some((key) => {
    const hmac = createHmac("sha256", Buffer.from(key, "base64"));
    hmac.update(`${id}.${timestamp}.`).update(body);
    const ours = Buffer.from(`v1,${hmac.digest("base64")}`);
    return signatures.some((one) => one.length === ours.length && timingSafeEqual(one, ours));
  });
  if (!isOurs) throw new WebhookError("no signature fits");
  return JSON.parse(typeof body === "string" ? body : new TextDecoder().decode(body));
}

function valueOf(headers: HeaderValues, name: string): string {
  const entries = Symbol.iterator in headers ? [...headers] : Object.entries(headers);
  const values = entries.flatMap(([key, value]) => (key.toLowerCase() === name ? value : []));
  if (values.length !== 1 || !values[0]) throw new WebhookError(`expected one header ${name}`);
  return values[0];
}
