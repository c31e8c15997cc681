// Walks Doorward with npm @modelcontextprotocol/client 2.x. Takes the plan as JSON, prints what it saw as JSON.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

const plan = JSON.parse(process.argv[2]);
const client = new Client(
  { name: 'doorward-test', version: '1.0.0' },
  { versionNegotiation: { mode: plan.era ?? 'legacy' } },
);
const [command, ...args] = plan.command ?? [];
const transport = plan.url
  ? new StreamableHTTPClientTransport(new URL(plan.url), {
      requestInit: { headers: { Authorization: `Bearer ${plan.token}` } },
    })
  : new StdioClientTransport({ command, args, env: plan.env });

await client.connect(transport);
const { tools } = await client.listTools();
const call = (name, args) => client.callTool({ name, arguments: args });
const echo = await call(plan.allowed, { message: plan.message });
const denied = await call(plan.denied, { message: 'x' });
const hidden = await call(plan.hidden, {}).then(
  () => null,
  (error) => [error.code, error.message],
);
console.log(
  JSON.stringify({
    revision: client.getNegotiatedProtocolVersion?.() ?? null,
    tools: tools.map((tool) => tool.name),
    echo: [echo.isError ?? false, echo.content[0].text],
    denied: [denied.isError ?? false, denied.content[0].text],
    hidden,
  }),
);
await client.close();
