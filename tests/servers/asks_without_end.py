"""A server of the older era over stdio that never answers a call, but asks, and as soon as it is
answered asks again."""

import json
import sys

count = 0


def send(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    if method == "initialize":
        info = {"name": "asks", "version": "1"}
        send({"id": message["id"], "result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}})
    elif method == "tools/list":
        send({"id": message["id"], "result": {"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]}})
    elif method == "tools/call" or (method is None and str(message.get("id")).startswith("q")):
        count += 1
        params = {"message": "Well?", "requestedSchema": {"type": "object", "properties": {}}}
        send({"id": f"q{count}", "method": "elicitation/create", "params": params})
    elif "id" in message:
        send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
