import createClient, { type ParseAs } from "openapi-fetch";
import type { HttpMethod } from "openapi-typescript-helpers";
import { abortScope, pause } from "./abort.js";
import { TEXTS } from "./answers.js";
import { asCompleted } from "./ends.js";
import { Link, type ClientOptions } from "./link.js";
import type { paths } from "./schema.js";
import { isOver } from "./types.js";
import type { Call, Job, Jobs, Line, Uploaded, Waiting } from "./types.js";
import { uploadBatch, type Lines, type UploadOptions } from "./upload.js";

/** Calls that change nothing, or nothing more when they are repeated. */
const HARMLESS = /^(?!post)|:states$|\/(ack|cancel|pause|seal)$/;
/** Milliseconds until an answer: of a call that may go through all of a batch, of another. */
const [LONG_MS, ANSWER_MS] = [300_000, 30_000];

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

  constructor(options: ClientOptions) {
    this.#link = new Link(options);
  }

  /** Waits until a job has ended, and returns it with its result. */
  async waitFor(jobId: string, { signal, timeoutMs }: Waiting = {}): Promise<Job> {
    const scope = abortScope(signal, timeoutMs);
    const params = { path: { job_id: jobId }, query: { wait: 30 } };
    try {
      for (;;) {
        const job = await this.GET("/v1/jobs/{job_id}", { params, signal: scope.signal });
        if (isOver(job)) return job;
        await pause(250, scope.signal); // a gateway that stops answers at once
      }
    } finally {
      scope.close();
    }
  }

  /**
   * Yields jobs with their results as they end, each once; first those that have ended already.
   * Throws `JobNotFound` for an id of no job; of a batch it leaves out jobs that were removed.
   */
  asCompleted(jobs: Jobs, waiting: Waiting = {}): AsyncGenerator<Job, void, void> {
    return asCompleted(jobs, waiting, this, this.#link);
  }

  /**
   * Submits a batch of any length, reading the lines as they are sent.
   *
   * An upload that breaks off is sent again if `lines` is an array or a function. If only the
   * answer was lost, it is sent again only if every line has a `custom_id`.
   */
  uploadBatch(lines: Lines, options: UploadOptions = {}): Promise<Uploaded> {
    return uploadBatch(this.#link, lines, options);
  }

  #call<Method extends HttpMethod>(method: Method): Call<Method> {
    const request = createClient<paths>().request as (...given: unknown[]) => Promise<Answer>;
    const call = async (path: keyof paths, { signal, ...init }: Init = {}): Promise<unknown> => {
      const mayRepeat = (isSure: boolean) => isSure || isHarmless(`${method} ${path}`, init.body);
      const parseAs = init.parseAs ?? (TEXTS.has(path) ? "text" : "json");
      const fetch = (request: Request) => {
        const wait = 1000 * Number(new URL(request.url).searchParams.get("wait") ?? 0);
        const answerMs = path.startsWith("/v1/batches") ? LONG_MS : ANSWER_MS + wait;
        return this.#link.send(() => request.clone(), { signal, parseAs, answerMs, mayRepeat });
      };
      const baseUrl = this.#link.url;
      return (await request(method, path, { ...init, parseAs, fetch, baseUrl })).data;
    };
    return call as unknown as Call<Method>;
  }
}

type Init = { body?: unknown; parseAs?: ParseAs; signal?: AbortSignal | null };
type Answer = { data: unknown };

function isHarmless(call: string, body: unknown): boolean {
  if (!/^post \/v1\/jobs(:bulk)?$/.test(call)) return HARMLESS.test(call);
  return [body].flat().every((line) => Boolean((line as Line | undefined)?.custom_id));
}
