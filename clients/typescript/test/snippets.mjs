// Writes the TypeScript of the documentation to build/snippets, where tsc checks it.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const docs = readdirSync("../../docs").filter((name) => name.endsWith(".md"));
const pages = ["README.md", "../../README.md", ...docs.map((name) => `../../docs/${name}`)];
const found = pages.flatMap((page) =>
  [...readFileSync(page, "utf8").matchAll(/^```(?:ts|typescript)\n(.*?)^```/gms)].map(
    ([, code], place) => ({ name: `${page.replaceAll(/\W+/g, "_")}_${place}.ts`, code }),
  ),
);
if (found.length === 0) throw new Error("no page has TypeScript");
rmSync("build", { recursive: true, force: true }); // what is no test any more, too
mkdirSync("build/snippets", { recursive: true });
for (const { name, code } of found) writeFileSync(`build/snippets/${name}`, `${code}export {};\n`);
