"""Plays the script with langchain-mcp-adapters. Takes the plan as JSON, prints what it was told as JSON."""

import asyncio
import json
import sys

from langchain_core.tools import ToolException
from langchain_mcp_adapters.client import MultiServerMCPClient
from mcp import McpError

plan = json.loads(sys.argv[1])


def reach(door):
    if "url" in door:
        return {"transport": "streamable_http", "url": door["url"], "headers": {"Authorization": door["authorization"]}}
    command, *arguments = door["command"]
    return {"transport": "stdio", "command": command, "args": arguments}


async def call(client, tools, it):
    if it["tool"] in tools:
        called = {"type": "tool_call", "id": "1", "name": it["tool"], "args": it["arguments"]}
        message = await tools[it["tool"]].ainvoke(called)
        text = message.content if isinstance(message.content, str) else message.content[0]["text"]
        return {"text": text, "is_error": message.status == "error"}
    # No agent asks for what its framework does not have; the session that the tools share does.
    async with client.session(it["door"]) as session:
        try:
            result = await session.call_tool(it["tool"], it["arguments"])
            return {"text": result.content[0].text, "is_error": result.isError}
        except McpError as error:
            return {"text": str(error), "is_error": True}


async def main():
    client = MultiServerMCPClient({name: reach(door) for name, door in plan["doors"].items()})
    offered, told = [], []
    for name in plan["doors"]:
        tools = {tool.name: tool for tool in await client.get_tools(server_name=name)}
        offered += [f"{name}/{tool}" for tool in tools]
        told += [await call(client, tools, it) for it in plan["calls"] if it["door"] == name]
    return {"offered": offered, "told": told}


print(json.dumps(asyncio.run(main())))
