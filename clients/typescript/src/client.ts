import createClient from "openapi-fetch";
import type { HttpMethod } from "openapi-typescript-helpers";
import { asCompleted, type Completing } from "./ends.js";
import { GatewayUnavailable } from "./errors.js";
import { Link, type LinkOptions } from "./link.js";
import type { paths } from "./schema.js";
import { endOf, isOver, pause } from "./types.js";
import type { BatchOptions, Call, Job, Line, Uploaded, Waiting } from "./types.js";
import { uploadBatch, type Lines } from "./upload.js";

/** Calls by POST that change nothing, or nothing more when they are repeated. */
const REPEATABLE: ReadonlySet<keyof paths> = new Set<keyof paths>([
  ...(["/v1/jobs:states", "/v1/jobs/{job_id}/cancel", "/v1/jobs/{job_id}/webhook/ack"] as const),
  ...(["/v1/batches/{batch_id}/seal", "/v1/batches/{batch_id}/cancel"] as const),
  ...(["/v1/batches/{batch_id}/pause", "/v1/accounts/{account}/pause"] as const),
  ...(["/v1/orphans:cancel", "/v1/keys:repair"] as const),
]);
/** Milliseconds for the answer to a call that goes through all of a batch. */
const LONG_MS = 300_000;
const LONGEST_POLL_SECONDS = 30;

/**
 * The queue, over HTTP.
 *
 * `GET`, `POST`, `PUT`, `PATCH` and `DELETE` are openapi-fetch's, except that they return the data
 * and throw errors. A call is repeated if it never arrived, or if repeating it does no harm.
 */
export class RunqueueClient {
  readonly GET: Call<"get">;
  readonly POST: Call<"post">;
  readonly PUT: Call<"put">;
  readonly PATCH: Call<"patch">;
  readonly DELETE: Call<"delete">;
  readonly #link: Link;

  constructor(options: LinkOptions) {
    this.#link = new Link(options);
    this.GET = this.#call("get");
    this.POST = this.#call("post");
    this.PUT = this.#call("put");
    this.PATCH = this.#call("patch");
    this.DELETE = this.#call("delete");
  }

  /** Waits until a job has ended, and returns it with its result. */
  async waitFor(jobId: string, waiting: Waiting = {}): Promise<Job> {
    const signal = endOf(waiting);
    for (;;) {
      const asked = Date.now();
      const job = await this.#read(jobId, LONGEST_POLL_SECONDS, signal);
      if (isOver(job)) return job;
      if (Date.now() < asked + 1000) await pause(500, signal); // the gateway is about to stop
    }
  }

  /**
   * Yields jobs with their results as they end, each once; first those that have ended already.
   *
   * @param jobs their ids, or a batch
   */
  asCompleted(
    jobs: Iterable<string> | { batch_id: string | null },
    waiting: Waiting = {},
  ): AsyncGenerator<Job, void, void> {
    const signal = endOf(waiting);
    const completing: Completing = { link: this.#link, signal, GET: this.GET, POST: this.POST };
    return asCompleted(jobs, completing);
  }

  /**
   * Submits a batch of any length; its lines are sent as they are made.
   *
   * An upload that breaks off is sent again if `lines` is an array or a function. If only the
   * answer was lost, it is sent again only if every line has a `custom_id`.
   */
  uploadBatch(
    lines: Lines<Line>,
    options: BatchOptions & { callbackUrl?: string; signal?: AbortSignal } = {},
  ): Promise<Uploaded> {
    return uploadBatch(this.#link, lines, options);
  }

  #read(jobId: string, wait: number, signal: AbortSignal): Promise<Job> {
    const params = { path: { job_id: jobId }, query: { wait } };
    return this.GET("/v1/jobs/{job_id}", { params, signal });
  }

  #call<Method extends HttpMethod>(method: Method): Call<Method> {
    const api = createClient<paths>({ baseUrl: this.#link.url });
    const call = async (path: keyof paths, { signal, ...init }: AnyInit = {}): Promise<unknown> => {
      // A request stays with its signal until it is collected: a long wait would gather thousands.
      const own = signal ? { signal: AbortSignal.any([signal]) } : {};
      const mayRepeat = () => method !== "post" || mayPostAgain(path, init.body);
      const fetch = (request: Request) => {
        const wait = 1000 * Number(new URL(request.url).searchParams.get("wait") ?? 0);
        const answerMs = path.startsWith("/v1/batches") ? LONG_MS : 30_000 + wait;
        return this.#link.send(() => request.clone(), { mayRepeat, answerMs });
      };
      // The types of one call are those of `Call`.
      const request = api.request as (...given: unknown[]) => Promise<{ data: unknown }>;
      try {
        return (await request(method, path, { ...init, ...own, fetch })).data;
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
        throw new GatewayUnavailable("its answer is none that a gateway gives", { cause: error });
      }
    };
    return call as unknown as Call<Method>;
  }
}

interface AnyInit {
  body?: unknown;
  signal?: AbortSignal | null;
}

function mayPostAgain(path: keyof paths, body: unknown): boolean {
  if (path !== "/v1/jobs" && path !== "/v1/jobs:bulk") return REPEATABLE.has(path);
  return [body].flat().every((line) => Boolean((line as Line | undefined)?.custom_id));
}
