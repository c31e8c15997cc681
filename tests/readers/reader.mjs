// Reads one JSON text a line (base64), and says how JavaScript understands it. See readers.py.

import { createInterface } from "node:readline";

function plain(value) {
  if (Array.isArray(value)) return ["array", ...value.map(plain)];
  if (typeof value === "number") {
    const bytes = Buffer.alloc(8);
    // Zero has no sign to those who read it as an integer.
    bytes.writeDoubleBE(value + 0);
    return ["number", bytes.toString("hex")];
  }
  if (value === null || typeof value !== "object") return value;
  return ["object", ...Object.keys(value).sort().map((key) => [key, plain(value[key])])];
}

for await (const line of createInterface({ input: process.stdin })) {
  const { method, params } = JSON.parse(Buffer.from(line, "base64").toString("utf8"));
  console.log(JSON.stringify({ javascript: [method, params.name, plain(params.arguments)] }));
}
