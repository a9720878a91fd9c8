import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { RunqueueClient, type Line } from "../src/index.js";

/** The repository: tests run in the folder of the package. */
const ROOT = resolve("../..");

export type Stack = Awaited<ReturnType<typeof startStack>>;

/** Starts a queue with a worker and a gateway. */
export async function startStack() {
  const python = process.env.PYTHON ?? `${ROOT}/.venv/bin/python`;
  const command = ["-m", "tests.clients.stack"];
  const env = { ...process.env, PYTHONPATH: ROOT };
  const child = spawn(python, command, { cwd: ROOT, env, stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const said = async () => String((await lines.next()).value);
  const { url, token } = JSON.parse(await said()) as { url: string; token: string };
  /** Ends the gateway, by a signal that it hears or not, or starts it again. */
  const gateway = async (what: "stop" | "kill" | "start") => {
    child.stdin.write(`${what}\n`);
    await said();
  };
  const close = async () => {
    child.stdin.end();
    await once(child, "exit");
  };
  return { url, token, gateway, close };
}

export const line = (custom_id: string) => ({
  custom_id,
  kind: "task",
  body: { prompt: "Read the price.", url: `https://shop.test/${custom_id}` },
}) satisfies Line;

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
}

/** A connection: its number, whether it has the events, and its bytes so far. */
export type Passed = { number: number; isEvents: boolean; sent: number; received: number };

/** Returns a client whose connections go through a proxy, which cuts each once `isCut` says so. */
export async function cutting({ token, url }: Stack, isCut: (passed: Passed) => boolean) {
  let number = 0;
  const server = createServer((client) => {
    const passed = { number: number++, isEvents: false, sent: 0, received: 0 };
    const gateway = connect(Number(new URL(url).port), "127.0.0.1");
    const end = () => void (client.destroy(), gateway.destroy());
    for (const side of [client, gateway]) side.on("error", end).on("close", end);
    const pass = (from: Socket, to: Socket, what: "sent" | "received") =>
      from.on("data", (part) => {
        passed[what] += part.length;
        passed.isEvents ||= part.includes("text/event-stream");
        if (isCut(passed)) end();
        else if (!to.write(part)) (from.pause(), to.once("drain", () => from.resume()));
      });
    pass(client, gateway, "sent");
    pass(gateway, client, "received");
  });
  await once(server.listen(0, "127.0.0.1").unref(), "listening");
  const { port } = server.address() as AddressInfo;
  return new RunqueueClient({ url: `http://127.0.0.1:${port}`, token });
}
