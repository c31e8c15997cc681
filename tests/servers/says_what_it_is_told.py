"""A server of the older era over stdio whose answers to calls are the lines that it was given, by
the name of the tool: a file with a JSON object, its only argument. `{id}` is the request's."""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as told:
    LINES = json.load(told)


def send(line):
    sys.stdout.buffer.write(line.encode() + b"\n")
    sys.stdout.buffer.flush()


def answer(request, result):
    send(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}))


for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    if method == "initialize":
        info = {"name": "told", "version": "1"}
        answer(message, {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info})
    elif method == "tools/list":
        answer(message, {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in LINES]})
    elif method == "tools/call":
        send(LINES[message["params"]["name"]].replace("{id}", json.dumps(message["id"])))
    elif "id" in message:
        send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}}))
