"""A server behind pipes that answers calls with their arguments, and the second one first.

The words of its command line are what it offers. What it was given is told by `environment`,
`arguments` and `files`. It prints what `CHATTER` holds, which is JSON, on its standard error.
"""

import json
import os
import select
import sys

if "CHATTER" in os.environ:
    sys.stderr.write(json.loads(os.environ["CHATTER"]))
    sys.stderr.flush()


def files():
    """The descriptors that are open, but for the one that looks."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append([int(name), os.readlink(f"/proc/self/fd/{name}")])
        except OSError:
            pass
    return [file for file in found if not file[1].startswith("/proc/")]


def told(name, arguments):
    return {
        "environment": lambda: dict(os.environ),
        "arguments": lambda: sys.argv[1:],
        "files": files,
    }.get(name, lambda: arguments)()


def answer(message):
    params = message.get("params", {})
    if message["method"] == "initialize":
        server = {"name": "echoes", "version": "1"}
        return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": server}
    if message["method"] == "tools/list":
        schema = {"type": "object"}
        return {"tools": [{"name": name, "inputSchema": schema} for name in sys.argv[1:]]}
    if message["method"] == "tools/call":
        text = json.dumps(told(params["name"], params.get("arguments", {})))
        return {"content": [{"type": "text", "text": text}]}
    return None


def say(message):
    result = answer(message)
    said = {"jsonrpc": "2.0", "id": message["id"]}
    if result is None:
        said["error"] = {"code": -32601, "message": "Method not found"}
    else:
        said["result"] = result
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


waiting = []
buffer = b""
while True:
    # Whoever comes alone does not wait for a second one.
    if waiting and not select.select([0], [], [], 0.02)[0]:
        say(waiting.pop())
        continue
    data = os.read(0, 65536)
    if not data:
        break
    *lines, buffer = (buffer + data).split(b"\n")
    for line in filter(None, lines):
        message = json.loads(line)
        if "id" not in message:
            continue
        waiting.append(message)
        if len(waiting) == 2:
            say(waiting.pop())
            say(waiting.pop())
