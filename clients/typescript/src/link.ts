import { ReadableStream } from "node:stream/web";
import type { ParseAs } from "openapi-fetch";
import { abortScope, pause } from "./abort.js";
import { GatewayUnavailable, ProblemError, type Problem, type RunqueueError } from "./errors.js";
import { CLASSES } from "./problems.js";

export interface ClientOptions {
  /** The gateway's URL, its path included. */
  url: string;
  /** A token of the gateway. */
  token?: string | undefined;
  /** Used instead of `globalThis.fetch`. */
  fetch?: typeof globalThis.fetch | undefined;
  /** Milliseconds for which a call is tried again while the gateway is away, or says "later". */
  patienceMs?: number | undefined;
  /** Send the token over http to another machine, where anybody on the way reads it. */
  allowHttp?: boolean | undefined;
}

export interface Sending {
  signal?: AbortSignal | null | undefined;
  /** Whether to send it again after a failure, which may be sure to have had no effect. */
  mayRepeat: (isSure: boolean) => boolean;
  /** How a good answer is read; only a stream is not read yet. Not given: it is JSON. */
  parseAs?: ParseAs;
  /** Milliseconds until an answer in JSON, or the beginning of another. */
  answerMs?: number;
}

/** Milliseconds before something is tried again: the shortest, and the longest, of a few times. */
export const [SHORTEST_MS, LONGEST_MS] = [250, 5_000];
const LATER = new Set([429, 502, 503, 504]);

/** Sends requests to a gateway, and again where that helps and does no harm. */
export class Link {
  readonly url: string;
  readonly #token: string | undefined;
  readonly #fetch: typeof globalThis.fetch;
  readonly #patienceMs: number;

  constructor({ url, token, fetch, patienceMs = 30_000, allowHttp = false }: ClientOptions) {
    // No error shows what was given, which may hold a secret.
    if (!/^https?:\/\/[^@?#]+$/i.test(url) || !URL.canParse(url)) {
      throw new TypeError("url: expected http(s)://host:port, without user, query and fragment");
    }
    if (token && !/^[!-~]+$/.test(token)) throw new TypeError("token: expected printable ASCII");
    const { protocol, hostname, origin, pathname } = new URL(url);
    const isHere = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);
    if (token && protocol === "http:" && !isHere && !allowHttp) {
      throw new TypeError("url: expected https, since http shows the token (allowHttp permits it)");
    }
    this.url = origin + pathname.replace(/\/$/, "");
    this.#token = token;
    this.#fetch = fetch ?? globalThis.fetch;
    this.#patienceMs = patienceMs;
  }

  /**
   * Returns a good answer.
   *
   * @param make makes the request, without a signal, once for each try
   * @throws RunqueueError what the gateway says, or that it does not answer
   */
  async send(make: () => Request, sending: Sending): Promise<Response> {
    const { signal, parseAs = "json", mayRepeat } = sending;
    const giveUp = performance.now() + this.#patienceMs;
    for (let backoff = SHORTEST_MS; ; backoff = Math.min(2 * backoff, LONGEST_MS)) {
      const request = make();
      let failure: RunqueueError, again: boolean;
      let wait = backoff * (0.5 + Math.random() / 2);
      try {
        const answer = await this.#sendOnce(request, sending);
        const isJson = /[/+]json/.test(answer.headers.get("content-type") ?? "");
        if (answer.ok && (isJson || parseAs !== "json")) return answer;
        failure = await errorOf(answer);
        if (failure instanceof ProblemError) wait = failure.retryAfterMs ?? wait;
        again = LATER.has(answer.status) && mayRepeat(answer.status === 429);
      } catch (error) {
        signal?.throwIfAborted();
        const cause = (error instanceof Error ? (error.cause ?? error) : {}) as Cause;
        const reason = cause.message || cause.code || error;
        failure = new GatewayUnavailable(`${this.url}: ${reason}`, { cause: error });
        again = mayRepeat(isUnsent(cause));
      }
      if (!again || performance.now() + wait > giveUp) throw failure;
      await pause(wait, signal);
    }
  }

  async #sendOnce(request: Request, sending: Sending): Promise<Response> {
    const { signal, parseAs = "json", answerMs = 30_000 } = sending;
    const scope = abortScope(signal, answerMs);
    if (this.#token) request.headers.set("authorization", `Bearer ${this.#token}`);
    let stream: BodyInit | undefined;
    try {
      const answer = await this.#fetch(request, { signal: scope.signal, redirect: "manual" });
      if (answer.ok && parseAs !== "json") scope.stopClock();
      if (answer.ok && parseAs === "stream") {
        stream = ReadableStream.from(closing(answer.body ?? [], scope.close)) as BodyInit;
      }
      return new Response(stream ?? ((await answer.text()) || null), answer);
    } finally {
      if (!stream) scope.close();
    }
  }
}

/** Yields the parts of a body, and then closes what may end it. */
async function* closing(body: AsyncIterable<Uint8Array> | [], close: () => void) {
  try {
    yield* body;
  } finally {
    close();
  }
}

/** Returns an answer that is no success as an error: that of its type, or of its status. */
async function errorOf(answer: Response): Promise<RunqueueError> {
  const after = answer.headers.get("retry-after") ?? "";
  const given = (await answer.json().catch(() => null)) as Problem | null;
  if (!given?.title) return new GatewayUnavailable(`answered ${answer.status}, as no gateway does`);
  const problem = { ...given, detail: given.detail ?? given.title, status: answer.status };
  const known = CLASSES.get(problem.type) ?? CLASSES.get(answer.status) ?? ProblemError;
  return new known(problem, /^\d{1,6}$/.test(after) ? 1000 * Number(after) : undefined);
}

type Cause = { code?: string; syscall?: string; message?: string; errors?: Cause[] };

/** Whether there was no connection, or, if several addresses were tried, none to any of them. */
function isUnsent({ code, syscall, errors }: Cause): boolean {
  if (errors) return errors.every(isUnsent);
  return code === "UND_ERR_CONNECT_TIMEOUT" || syscall === "connect" || syscall === "getaddrinfo";
}
