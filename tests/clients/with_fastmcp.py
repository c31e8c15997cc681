"""Plays the script with fastmcp's client. Takes the plan as JSON, prints what it was told as JSON."""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from fastmcp.exceptions import ToolError
from mcp import MCPError

plan = json.loads(sys.argv[1])


def reach(door):
    if "url" in door:
        return StreamableHttpTransport(door["url"], headers={"Authorization": door["authorization"]})
    command, *arguments = door["command"]
    return StdioTransport(command, arguments)


async def call(client, tool, arguments):
    try:
        result = await client.call_tool(tool, arguments)
        return {"text": result.content[0].text, "is_error": False}
    except (ToolError, MCPError) as error:
        return {"text": str(error), "is_error": True}


async def main():
    offered, told = [], []
    for name, door in plan["doors"].items():
        async with Client(reach(door)) as client:
            offered += [f"{name}/{tool.name}" for tool in await client.list_tools()]
            calls = [call for call in plan["calls"] if call["door"] == name]
            told += [await call(client, it["tool"], it["arguments"]) for it in calls]
    return {"offered": offered, "told": told}


print(json.dumps(asyncio.run(main())))
