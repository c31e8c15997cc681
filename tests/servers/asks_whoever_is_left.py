"""A server of the older era over stdio that asks as if nobody had left: at once, or only when the
call is taken back. `wait` answers with what became of the question. The only argument is a file, where
it notes which tools were called."""

import json
import sys

waiting = outcome = late = None


def send(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def ask():
    params = {"message": "Whose secret is this?", "requestedSchema": {"type": "object", "properties": {}}}
    send({"id": "q", "method": "elicitation/create", "params": params})


def told():
    if waiting is not None and outcome is not None:
        send({"id": waiting, "result": {"content": [{"type": "text", "text": outcome}]}})


for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params", {})
    if method == "initialize":
        info = {"name": "asks", "version": "1"}
        send({"id": message["id"], "result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}})
    elif method == "tools/list":
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("ask_now", "ask_late", "wait")]
        send({"id": message["id"], "result": {"tools": tools}})
    elif method == "tools/call":
        name = params["name"]
        with open(sys.argv[1], "a", encoding="utf-8") as called:
            called.write(name + "\n")
        if name == "wait":
            waiting = message["id"]
            told()
        elif name == "ask_now":
            ask()
        else:
            late = message["id"]
    elif method == "notifications/cancelled":
        if late is not None and params["requestId"] == late:
            ask()
    elif method is None and message.get("id") == "q":
        outcome = "refused" if "error" in message else json.dumps(message["result"])
        told()
    elif "id" in message:
        send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
