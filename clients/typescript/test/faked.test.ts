// What the gateway of the other tests does not do: here each test answers by itself.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import * as rq from "../src/index.js";
import { collect, line } from "./stack.js";

function faked(answer: (request: Request, init: RequestInit) => Response, patienceMs = 0) {
  const fetch = (async (request: Request, init: RequestInit) => answer(request, init)) as never;
  return new rq.RunqueueClient({ url: "http://localhost:1", patienceMs, fetch });
}

test("answers that are no gateway's are errors", async () => {
  const portal = faked(() => new Response("hello", { headers: { "content-type": "text/html" } }));
  await assert.rejects(portal.GET("/v1/stats"), rq.GatewayUnavailable);
  await assert.rejects(portal.uploadBatch([line("portal")]), rq.GatewayUnavailable);
  const strange = faked(({ url }) => {
    if (url.includes("jobs/")) return Response.json({ title: "No." }, { status: 404 });
    return Response.json({ states: [{ state: null }] });
  });
  await assert.rejects(collect(strange.asCompleted(["a"])), rq.NotFound);
});

test("an answer that does not end is given up", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const endless = faked((_, { signal }) => {
    const body = new ReadableStream({ start: (made) => (signal!.onabort = () => made.error()) });
    return new Response(body, { status: 502 });
  });
  const call = assert.rejects(endless.GET("/v1/stats"), rq.GatewayUnavailable);
  await new Promise(setImmediate);
  t.mock.timers.tick(30_000);
  await call;
});

test("an end that is not reported is found; who leaves early leaves no connection", async (t) => {
  let [state, signal] = ["running", undefined as RequestInit["signal"]];
  setTimeout(() => (state = "completed"), 100);
  async function* noise() {
    const others = Buffer.from('event: ended\ndata: {"job_id":"other"}\n\n');
    while (!signal?.aborted) yield sleep(20, others);
  }
  const busy = faked(({ url }, init) => {
    if (url.endsWith("a")) return Response.json({ job_id: "a", state });
    if (url.endsWith("states")) return Response.json({ states: [{ state }, { state: "running" }] });
    signal = init.signal;
    return new Response(noise() as never);
  });
  const now = performance.now.bind(performance);
  t.mock.method(performance, "now", () => now() + (state === "running" ? 0 : 61_000));
  for await (const job of busy.asCompleted(["a", "b"], { timeoutMs: 5000 })) {
    assert.equal(job.job_id, "a");
    break;
  }
  assert.ok(signal?.aborted);
});

test("a call is repeated only if it did not arrive, or if that does no harm", async () => {
  const lost = (syscall: string) => Object.assign(Error("away"), { code: "EHOSTUNREACH", syscall });
  const unnamed = { ...line("x"), custom_id: null };
  for (const [path, body, failure, expected] of [
    ["/v1/jobs", line("x"), lost("read"), 2],
    ["/v1/jobs", unnamed, lost("read"), 1],
    ["/v1/jobs", unnamed, lost("connect"), 2],
    ["/v1/jobs", unnamed, new AggregateError([lost("connect"), lost("connect")]), 2],
    ["/v1/jobs", unnamed, 429, 2],
    ["/v1/jobs:bulk", [line("x"), unnamed], 503, 1],
    ["/v1/keys:repair", undefined, 502, 1],
  ] as const) {
    let calls = 0;
    const failing = faked(() => {
      if (calls++ > 0) return Response.json({});
      if (typeof failure !== "number") throw new TypeError("failed", { cause: failure });
      return Response.json({ title: "Later." }, { status: failure });
    }, 1000);
    await failing.POST(path as "/v1/jobs", { body } as never).catch(() => undefined);
    assert.equal(calls, expected, `${path} ${failure}`);
  }
});

test("no error shows a secret, and no token goes over http to another machine", async () => {
  const hides = (error: unknown) => error instanceof TypeError && !inspect(error).includes("pa55");
  for (const options of [
    { url: "https://shop.test", token: "pa55\nx" },
    { url: "http://localhost:pa55" },
    { url: "http://:pa55@localhost" },
    { url: "http://shop.test", token: "pa55" },
  ])
    assert.throws(() => new rq.RunqueueClient(options), hides);
  const client = new rq.RunqueueClient({ url: "http://shop.test", token: "pa55", allowHttp: true });
  await assert.rejects(client.uploadBatch([], { callbackUrl: "http://me:pa55@:1" }), hides);
});
