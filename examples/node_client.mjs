// Hands in a job, waits for its end, and uploads a batch: with HTTP alone, nothing installed.
//
//   RUNQUEUE_URL=http://127.0.0.1:8080 RUNQUEUE_TOKEN=$(cat .runqueue/token) node examples/node_client.mjs order-17

const base = process.env.RUNQUEUE_URL ?? "http://127.0.0.1:8080";
const token = process.env.RUNQUEUE_TOKEN;
const order = process.argv[2] ?? "order-17";

/** Asks the gateway; a 503 is asked again, which is safe for jobs that have a key. */
async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
  for (let tries = 0; ; tries++) {
    const answer = await fetch(base + path, { ...options, headers });
    if (answer.status === 503 && tries < 5) {
      const seconds = Number(answer.headers.get("retry-after") ?? 1);
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      continue;
    }
    const body = await answer.json();
    if (!answer.ok) throw new Error(`${answer.status}: ${body.detail}`);
    return body;
  }
}

const line = (custom_id) => ({
  custom_id,
  kind: "task",
  body: { prompt: "Read the price.", url: `https://shop.example/${custom_id}` },
});

const job = await ask("/v1/jobs", {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(line(order)),
});
console.log(`${order} is ${job.status}: ${job.job_id}`);

let seen;
do {
  seen = await ask(`/v1/jobs/${job.job_id}?wait=30`);
} while (!["completed", "failed", "canceled", "dead"].includes(seen.state));
console.log(`${order} ${seen.state}: ${JSON.stringify(seen.output)}`);

/** Makes the lines as they are sent: a batch of any length takes no memory. */
async function* lines(count) {
  const encoder = new TextEncoder();
  for (let n = 0; n < count; n++) {
    yield encoder.encode(JSON.stringify(line(`${order}-${n}`)) + "\n");
  }
}

const batch = await ask("/v1/batches?name=prices", {
  method: "POST",
  headers: { "content-type": "application/x-ndjson" },
  body: ReadableStream.from(lines(2000)),
  duplex: "half",
});
console.log(`batch ${batch.batch_id}: ${batch.counts.new} new, ${batch.counts.known} known`);
