import createClient from "openapi-fetch";
import type { HttpMethod } from "openapi-typescript-helpers";
import { asCompleted } from "./ends.js";
import { GatewayUnavailable } from "./errors.js";
import { Link, type LinkOptions } from "./link.js";
import type { paths } from "./schema.js";
import { endOf, isOver, pause } from "./types.js";
import type { Call, Job, Line, Uploaded, Waiting } from "./types.js";
import { uploadBatch, type Lines, type UploadOptions } from "./upload.js";

/** Calls by POST that change nothing, or nothing more when they are repeated. */
const REPEATABLE: ReadonlySet<keyof paths> = new Set<keyof paths>([
  "/v1/jobs:states",
  "/v1/jobs/{job_id}/cancel",
  "/v1/jobs/{job_id}/webhook/ack",
  "/v1/batches/{batch_id}/seal",
  "/v1/batches/{batch_id}/cancel",
  "/v1/batches/{batch_id}/pause",
  "/v1/accounts/{account}/pause",
]);
/** Milliseconds until an answer: of a call that may go through all of a batch, of another. */
const [LONG_MS, ANSWER_MS] = [300_000, 30_000];
const LONGEST_POLL_SECONDS = 30;

/**
 * The queue, over HTTP.
 *
 * `GET`, `POST`, `PUT`, `PATCH` and `DELETE` are openapi-fetch's, except that they return the data
 * and throw errors. A call is repeated if it never arrived, or if repeating it does no harm.
 */
export class RunqueueClient {
  readonly GET: Call<"get"> = this.#call("get");
  readonly POST: Call<"post"> = this.#call("post");
  readonly PUT: Call<"put"> = this.#call("put");
  readonly PATCH: Call<"patch"> = this.#call("patch");
  readonly DELETE: Call<"delete"> = this.#call("delete");
  readonly #link: Link;

  constructor(options: LinkOptions) {
    this.#link = new Link(options);
  }

  /** Waits until a job has ended, and returns it with its result. */
  async waitFor(jobId: string, waiting: Waiting = {}): Promise<Job> {
    const signal = endOf(waiting);
    const params = { path: { job_id: jobId }, query: { wait: LONGEST_POLL_SECONDS } };
    for (;;) {
      const job = await this.GET("/v1/jobs/{job_id}", { params, signal });
      if (isOver(job)) return job;
      await pause(250, signal); // a gateway that stops answers at once
    }
  }

  /**
   * Yields jobs with their results as they end, each once; first those that have ended already.
   *
   * @param jobs their ids, or a batch whose upload is over
   */
  asCompleted(
    jobs: Iterable<string> | { batch_id: string | null },
    waiting: Waiting = {},
  ): AsyncGenerator<Job, void, void> {
    const { GET, POST } = this;
    return asCompleted(jobs, { link: this.#link, signal: endOf(waiting), GET, POST });
  }

  /**
   * Submits a batch of any length; its lines are sent as they are made.
   *
   * An upload that breaks off is sent again if `lines` is an array or a function. If only the
   * answer was lost, it is sent again only if every line has a `custom_id`.
   */
  uploadBatch(lines: Lines, options: UploadOptions = {}): Promise<Uploaded> {
    return uploadBatch(this.#link, lines, options);
  }

  #call<Method extends HttpMethod>(method: Method): Call<Method> {
    // The types of one call are those of `Call`.
    const request = createClient<paths>().request as (...given: unknown[]) => Promise<Answer>;
    const call = async (path: keyof paths, { signal, ...init }: Init = {}): Promise<unknown> => {
      // A request stays with its signal until it is collected: a long wait would gather thousands.
      const own = signal ? { signal: AbortSignal.any([signal]) } : {};
      const mayRepeat = () => method !== "post" || mayPostAgain(path, init.body);
      const fetch = (request: Request) => {
        const wait = 1000 * Number(new URL(request.url).searchParams.get("wait") ?? 0);
        const answerMs = path.startsWith("/v1/batches") ? LONG_MS : ANSWER_MS + wait;
        return this.#link.send(() => request.clone(), { mayRepeat, answerMs });
      };
      try {
        const sent = { ...init, ...own, fetch, baseUrl: this.#link.url };
        return (await request(method, path, sent)).data;
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
        throw new GatewayUnavailable("its answer is none that a gateway gives", { cause: error });
      }
    };
    return call as unknown as Call<Method>;
  }
}

type Init = { body?: unknown; signal?: AbortSignal | null };
type Answer = { data: unknown };

function mayPostAgain(path: keyof paths, body: unknown): boolean {
  if (path !== "/v1/jobs" && path !== "/v1/jobs:bulk") return REPEATABLE.has(path);
  return [body].flat().every((line) => Boolean((line as Line | undefined)?.custom_id));
}
