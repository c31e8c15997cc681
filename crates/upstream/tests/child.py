"""A server over stdio for the tests. Its habits come as arguments."""

import json
import os
import subprocess
import sys
import time

HABITS = set(sys.argv[1:])
if "reserve" in HABITS:
    # As Node.js does: address space that is never used.
    import mmap

    RESERVED = mmap.mmap(-1, 4 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0)
INITIALIZED = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {"listChanged": True}},
    "serverInfo": {"name": "child", "version": "1"},
}
DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "child"}},
}
if "subscribes" in HABITS:
    for opening in (INITIALIZED, DISCOVERED):
        opening["capabilities"]["resources"] = {"subscribe": True}
if "verbose" in HABITS:
    for opening in (INITIALIZED, DISCOVERED):
        opening["instructions"] = "x" * 100_000
received = []
# What the client said that it can be asked, when it initialized.
declared = []
# What is subscribed to: by the id of a listen, or in the one session.
listens = {}
subscribed = []


def write(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def send(message):
    write(json.dumps(message, ensure_ascii=False).encode() + b"\n")


def answer(request, result):
    send({"jsonrpc": "2.0", "id": request["id"], "result": result})


def refuse(request):
    send({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "Method not found"}})


def call(request):
    params = request["params"]
    name, arguments = params["name"], params.get("arguments", {})
    if name == "echo":
        answer(request, arguments)
    elif name == "silence":
        pass
    elif name == "crash":
        sys.stderr.write("going down\n")
        sys.stderr.flush()
        os._exit(3)
    elif name == "received":
        answer(request, {"received": received})
    elif name == "environment":
        answer(request, {"env": dict(os.environ), "argv": sys.argv[1:], "pid": os.getpid(), "cwd": os.getcwd()})
    elif name == "leak":
        sys.stderr.write("the token is " + os.environ["TOKEN"] + " \x1b[31m\n")
        sys.stderr.flush()
        answer(request, {})
    elif name == "chatter":
        for number in range(5000):
            sys.stderr.write(f"chatter {number}\n")
        sys.stderr.flush()
        write(b"hello on the wrong stream\n\n{}\n[1,2\n")
        answer(request, {})
    elif name == "split":
        text = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": {"text": "€uro 😀"}}, ensure_ascii=False)
        for byte in text.encode() + b"\r\n":
            write(bytes([byte]))
    elif name == "long":
        answer(request, {"text": "x" * arguments["length"]})
    elif name == "spawn":
        child = subprocess.Popen(["sleep", "600"])
        answer(request, {"pid": child.pid})
    elif name == "progress":
        token = params["_meta"]["progressToken"]
        send({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        send({"jsonrpc": "2.0", "id": "q", "method": "roots/list"})
        answer(request, {})
    elif name == "logs":
        send({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "whose?"}})
        answer(request, {})
    elif name == "touch":
        for subscription, uris in listens.items():
            if arguments["uri"] in uris:
                meta = {"io.modelcontextprotocol/subscriptionId": subscription}
                params = {"uri": arguments["uri"], "_meta": meta}
                send({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params})
        if arguments["uri"] in subscribed:
            params = {"uri": arguments["uri"]}
            send({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params})
        answer(request, {})
    elif name == "who":
        answer(request, {"declared": declared, "pid": os.getpid()})
    elif name == "subscribed":
        answer(request, {"listens": list(listens.values()), "session": subscribed})
    elif name == "memory":
        try:
            answer(request, {"length": len(bytearray(arguments["bytes"]))})
        except MemoryError:
            answer(request, {"length": -1})
    else:
        refuse(request)


def handle(message):
    received.append(message.get("method") or f"answer {message.get('id')} {message.get('error', {}).get('code')}")
    method = message.get("method")
    if method == "server/discover":
        if "exits-at-discover" in HABITS:
            os._exit(1)
        if "silent-at-discover" in HABITS:
            return
        if "late-at-first" in HABITS and not os.path.exists("was-late"):
            open("was-late", "w").close()
            return
        if "modern" in HABITS:
            answer(message, DISCOVERED)
        else:
            refuse(message)
    elif method == "initialize":
        declared.append(message["params"]["capabilities"])
        if "modern" in HABITS and "late-at-first" not in HABITS:
            refuse(message)
        elif "never-initializes" not in HABITS:
            answer(message, INITIALIZED)
    elif method == "tools/list":
        listed = {"tools": [{"name": "echo", "description": f"by {os.getpid()}"}]}
        if "verbose" in HABITS:
            listed["padding"] = "x" * 100_000
        answer(message, listed)
    elif method == "tools/call":
        call(message)
    elif method == "subscriptions/listen":
        uris = message["params"]["notifications"].get("resourceSubscriptions", [])
        uris = [uri for uri in uris if "unwelcome" not in uri]
        listens[message["id"]] = uris
        params = {"notifications": {"resourceSubscriptions": uris}}
        params["_meta"] = {"io.modelcontextprotocol/subscriptionId": message["id"]}
        send({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params})
    elif method == "notifications/cancelled":
        listens.pop(message["params"]["requestId"], None)
    elif method == "resources/subscribe":
        if "unwelcome" in message["params"]["uri"]:
            refuse(message)
        else:
            subscribed.append(message["params"]["uri"])
            answer(message, {})
    elif method == "resources/unsubscribe":
        subscribed.remove(message["params"]["uri"])
        answer(message, {})


if "slow" in HABITS:
    time.sleep(0.4)
if "crashes" in HABITS:
    os._exit(7)
for line in sys.stdin.buffer:
    handle(json.loads(line))
if "ignores-eof" in HABITS:
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
