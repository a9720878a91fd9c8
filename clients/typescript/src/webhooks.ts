import { createHmac, timingSafeEqual } from "node:crypto";
import { WebhookError } from "./errors.js";

export interface WebhookOptions {
  /** Seconds that a webhook's time may differ from the clock of this machine. */
  toleranceSeconds?: number;
  /** Unix seconds; the clock of this machine if it is not given. */
  now?: number;
}

type HeaderValues = Headers | Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * Checks a webhook's signature and age (standard-webhooks), and returns its body as JSON.
 *
 * @param body as it arrived: parsing and serializing it again changes its bytes
 * @param headers of the request, as `fetch` or Node have them
 * @param secrets `whsec_…`; of several, one has to fit
 * @throws WebhookError it is not ours, or too old
 */
export function verifyWebhook(
  body: string | Uint8Array,
  headers: HeaderValues,
  secrets: string | readonly string[],
  { toleranceSeconds = 300, now = Date.now() / 1000 }: WebhookOptions = {},
): unknown {
  const id = valueOf(headers, "webhook-id");
  const timestamp = valueOf(headers, "webhook-timestamp");
  if (!/^\d{1,12}$/.test(timestamp)) throw new WebhookError("its webhook-timestamp is no time");
  const age = now - Number(timestamp);
  if (Math.abs(age) > toleranceSeconds) {
    throw new WebhookError(`it was signed ${Math.round(age)} s ago`);
  }
  const given = valueOf(headers, "webhook-signature").split(" ");
  const signatures = given.filter((one) => one.startsWith("v1,")).map((one) => one.slice(3));
  const expected = [secrets].flat().map((secret) =>
    createHmac("sha256", keyOf(secret)).update(`${id}.${timestamp}.`).update(body).digest(),
  );
  // All pairs are compared, each in constant time.
  const fits = expected.flatMap((one) => signatures.map((text) => isEqual(one, text)));
  if (!fits.includes(true)) throw new WebhookError("no signature fits");
  return JSON.parse(typeof body === "string" ? body : new TextDecoder().decode(body)) as unknown;
}

function valueOf(headers: HeaderValues, name: string): string {
  const entries = headers instanceof Headers ? [...headers] : Object.entries(headers);
  const found = entries.find(([key]) => key.toLowerCase() === name)?.[1];
  const value = typeof found === "string" ? found : found?.length === 1 ? found[0] : undefined;
  if (!value) throw new WebhookError(`expected one header ${name}`);
  return value;
}

function keyOf(secret: string): Buffer {
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  if (key.length === 0) throw new TypeError("expected a secret: whsec_…");
  return key;
}

function isEqual(expected: Buffer, text: string): boolean {
  const given = Buffer.from(text, "base64");
  return given.length === expected.length && timingSafeEqual(given, expected);
}
