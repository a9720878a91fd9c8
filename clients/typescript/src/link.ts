import { errorOf, GatewayUnavailable, ProblemError, RunqueueError } from "./errors.js";
import { pause } from "./types.js";

export interface LinkOptions {
  /** The gateway's URL, its path included. */
  url: string;
  /** A token of the gateway. */
  token?: string;
  /** Used instead of `globalThis.fetch`. */
  fetch?: typeof globalThis.fetch;
  /** Milliseconds for which a gateway that is away, or says "later", is tried again. */
  patienceMs?: number;
  /** Send the token over http to another machine, where anybody on the way reads it. */
  allowHttp?: boolean;
}

export interface Sending {
  /** Whether sending it again does no harm; asked after a failure. */
  mayRepeat: () => boolean;
  /** Whether all of it is there to be sent again; asked after any failure. */
  canRepeat?: () => boolean;
  /** Milliseconds until the answer begins. */
  answerMs?: number;
}

const ANSWER_MS = 30_000;
const [SHORTEST_MS, LONGEST_MS] = [250, 5_000];
const LATER = new Set([429, 502, 503, 504]);
/** Failures before a byte of the request was sent. */
const NOT_SENT = new Set([
  ...["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"],
  ...["UND_ERR_CONNECT_TIMEOUT", "ETIMEDOUT"],
]);

/** Sends requests to a gateway, and again where that helps and does no harm. */
export class Link {
  readonly url: string;
  readonly #headers: Record<string, string>;
  readonly #fetch: typeof globalThis.fetch;
  readonly #patienceMs: number;

  constructor({ url, token, fetch, patienceMs = 30_000, allowHttp = false }: LinkOptions) {
    const { protocol, hostname, username, search, hash, origin, pathname } = new URL(url);
    if (!/^https?:$/.test(protocol) || username || search || hash) {
      throw new TypeError("url: expected http(s)://host:port, without user, query and fragment");
    }
    const isHere = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);
    if (token && protocol === "http:" && !isHere && !allowHttp) {
      throw new TypeError("url: expected https, since http shows the token (allowHttp permits it)");
    }
    this.url = origin + pathname.replace(/\/$/, "");
    this.#headers = token ? { authorization: `Bearer ${token}` } : {};
    this.#fetch = fetch ?? globalThis.fetch;
    this.#patienceMs = patienceMs;
  }

  /**
   * Returns a good answer, a body of JSON already read.
   *
   * @param make makes the request, once for each try; its signal ends it all
   * @throws RunqueueError what the gateway says, or that it does not answer
   */
  async send(make: () => Request, sending: Sending): Promise<Response> {
    const giveUp = Date.now() + this.#patienceMs;
    for (let backoff = SHORTEST_MS; ; backoff = Math.min(2 * backoff, LONGEST_MS)) {
      let failure: RunqueueError;
      let again: boolean;
      let wait = backoff * (0.5 + Math.random() / 2);
      const request = make();
      try {
        const answer = await this.#sendOnce(request, sending.answerMs ?? ANSWER_MS);
        if (answer.ok) return answer;
        failure = await errorOf(answer);
        const after = failure instanceof ProblemError ? failure.retryAfter : undefined;
        if (after !== undefined) wait = 1000 * after;
        again = LATER.has(answer.status) && (answer.status === 429 || sending.mayRepeat());
      } catch (error) {
        request.signal.throwIfAborted();
        failure = new GatewayUnavailable(`${this.url}: ${wordsOf(error)}`, { cause: error });
        again = NOT_SENT.has(codeOf(error)) || sending.mayRepeat();
      }
      again &&= Date.now() + wait <= giveUp && (sending.canRepeat?.() ?? true);
      if (!again) throw failure;
      await pause(wait, request.signal);
    }
  }

  async #sendOnce(request: Request, answerMs: number): Promise<Response> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new Error("does not answer in time")), answerMs);
    for (const [name, value] of Object.entries(this.#headers)) request.headers.set(name, value);
    try {
      const signal = AbortSignal.any([late.signal, request.signal]);
      const answer = await this.#fetch(request, { signal, redirect: "manual" });
      if (!/[/+]json/.test(answer.headers.get("content-type") ?? "")) return answer;
      return new Response(await answer.text(), answer);
    } finally {
      clearTimeout(timer);
    }
  }
}

function codeOf(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  return String((cause as { code?: unknown } | null)?.code ?? "");
}

function wordsOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message || codeOf(cause) : String(cause);
}
