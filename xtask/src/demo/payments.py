"""The payment service of the demo: an MCP server over standard input and output.

It pays back whatever it is told to and notes each refund in the file that it is given. That nobody is paid too
much is the gateway's business.
"""

import json
import sys

TOOL = {
    "name": "create_refund",
    "description": "Pay money back for an order",
    "inputSchema": {
        "type": "object",
        "properties": {"order": {"type": "string"}, "amount": {"type": "number"}},
        "required": ["order", "amount"],
    },
}


def answer(method, params):
    if method == "initialize":
        version = params["protocolVersion"]
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "payments", "version": "1"}}
    if method == "tools/list":
        return {"tools": [TOOL]}
    if method == "tools/call":
        arguments = params["arguments"]
        with open(sys.argv[1], "a", encoding="utf-8") as book:
            book.write(f"{arguments['order']} {arguments['amount']}\n")
        text = f"refunded {arguments['amount']} for order {arguments['order']}"
        return {"content": [{"type": "text", "text": text}]}
    return {} if method == "ping" else None


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        continue
    reply = {"jsonrpc": "2.0", "id": message["id"]}
    result = answer(message["method"], message.get("params", {}))
    if result is None:
        reply["error"] = {"code": -32601, "message": f"no method {message['method']}"}
    else:
        reply["result"] = result
    print(json.dumps(reply), flush=True)
