import { GatewayUnavailable, ProblemError, type Problem, type RunqueueError } from "./errors.js";
import { CLASSES } from "./problems.js";
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

/** Milliseconds before something is tried again: the shortest, and the longest, of a few times. */
export const [SHORTEST_MS, LONGEST_MS] = [250, 5_000];
const LATER = new Set([429, 502, 503, 504]);
/** Failures before a byte of the request was sent. */
const NOT_SENT = /ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|CONNECT_TIMEOUT/;

/** Sends requests to a gateway, and again where that helps and does no harm. */
export class Link {
  readonly url: string;
  readonly #token: string | undefined;
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
    this.#token = token;
    this.#fetch = fetch ?? globalThis.fetch;
    this.#patienceMs = patienceMs;
  }

  /**
   * Returns a good answer, a body of JSON already read.
   *
   * @param make makes the request, once for each try; its signal ends it all
   * @throws RunqueueError what the gateway says, or that it does not answer
   */
  async send(make: () => Request, { mayRepeat, canRepeat, answerMs }: Sending): Promise<Response> {
    const giveUp = Date.now() + this.#patienceMs;
    for (let backoff = SHORTEST_MS; ; backoff = Math.min(2 * backoff, LONGEST_MS)) {
      const request = make();
      let failure: RunqueueError;
      let again: boolean;
      let wait = backoff * (0.5 + Math.random() / 2);
      try {
        const answer = await this.#sendOnce(request, answerMs ?? 30_000);
        if (answer.ok) return answer;
        failure = await errorOf(answer);
        if (failure instanceof ProblemError) wait = 1000 * (failure.retryAfter ?? wait / 1000);
        again = LATER.has(answer.status) && (answer.status === 429 || mayRepeat());
      } catch (error) {
        request.signal.throwIfAborted();
        const { code, message } = causeOf(error);
        failure = new GatewayUnavailable(`${this.url}: ${message || code}`, { cause: error });
        again = NOT_SENT.test(code ?? "") || mayRepeat();
      }
      again &&= Date.now() + wait <= giveUp && (canRepeat?.() ?? true);
      if (!again) throw failure;
      await pause(wait, request.signal);
    }
  }

  async #sendOnce(request: Request, answerMs: number): Promise<Response> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new Error("does not answer in time")), answerMs);
    if (this.#token) request.headers.set("authorization", `Bearer ${this.#token}`);
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

/** Returns an answer that is no success as an error: that of its type, or of its status. */
async function errorOf(answer: Response): Promise<RunqueueError> {
  const after = answer.headers.get("retry-after") ?? "";
  const given = (await answer.json().catch(() => null)) as Problem | null;
  if (!given?.title) {
    return new GatewayUnavailable(`answered ${answer.status}, not as a gateway does`);
  }
  const problem = { ...given, detail: given.detail ?? given.title, status: answer.status };
  const known = CLASSES.get(problem.type) ?? CLASSES.get(answer.status) ?? ProblemError;
  return new known(problem, /^\d{1,9}$/.test(after) ? Number(after) : undefined);
}

function causeOf(error: unknown): { code?: string; message?: string } {
  return error instanceof Error ? ((error.cause ?? error) as Error) : { message: String(error) };
}
