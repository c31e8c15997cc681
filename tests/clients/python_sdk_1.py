"""Walks Doorward with the Python SDK 1.x. Takes the plan as JSON, prints what it saw as JSON."""

import asyncio
import json
import sys

from mcp import ClientSession, McpError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client

plan = json.loads(sys.argv[1])


async def walk(read, write):
    async with ClientSession(read, write) as session:
        opened = await session.initialize()
        tools = (await session.list_tools()).tools
        echo = await session.call_tool(plan["allowed"], {"message": plan["message"]})
        denied = await session.call_tool(plan["denied"], {"message": "x"})
        try:
            await session.call_tool(plan["hidden"], {})
            hidden = None
        except McpError as error:
            hidden = [error.error.code, error.error.message]
        await session.send_ping()
        return {
            "revision": opened.protocolVersion,
            "tools": [tool.name for tool in tools],
            "echo": [echo.isError, echo.content[0].text],
            "denied": [denied.isError, denied.content[0].text],
            "hidden": hidden,
        }


async def main():
    if "url" in plan:
        headers = {"Authorization": f"Bearer {plan['token']}"}
        async with streamablehttp_client(plan["url"], headers=headers) as (read, write, _):
            return await walk(read, write)
    command, *arguments = plan["command"]
    async with stdio_client(StdioServerParameters(command=command, args=arguments, env=plan["env"])) as (read, write):
        return await walk(read, write)


print(json.dumps(asyncio.run(main())))
