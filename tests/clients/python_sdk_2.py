"""Walks Doorward with the Python SDK 2.x. Takes the plan as JSON, prints what it saw as JSON."""

import asyncio
import json
import sys

import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

plan = json.loads(sys.argv[1])


async def walk(server):
    async with Client(server, mode=plan.get("era", "auto")) as client:
        tools = (await client.list_tools()).tools
        echo = await client.call_tool(plan["allowed"], {"message": plan["message"]})
        denied = await client.call_tool(plan["denied"], {"message": "x"})
        try:
            await client.call_tool(plan["hidden"], {})
            hidden = None
        except MCPError as error:
            hidden = [error.code, error.message]
        return {
            "revision": client.protocol_version,
            "tools": [tool.name for tool in tools],
            "echo": [echo.is_error, echo.content[0].text],
            "denied": [denied.is_error, denied.content[0].text],
            "hidden": hidden,
        }


async def main():
    if "url" in plan:
        headers = {"Authorization": f"Bearer {plan['token']}"}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            return await walk(streamable_http_client(plan["url"], http_client=http))
    command, *arguments = plan["command"]
    return await walk(StdioServerParameters(command=command, args=arguments, env=plan["env"]))


print(json.dumps(asyncio.run(main())))
