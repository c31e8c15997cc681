"""Plays the script with pydantic-ai's agent. Takes the plan as JSON, prints what the model was told as JSON."""

import asyncio
import json
import sys

from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel

plan = json.loads(sys.argv[1])


def reach(door):
    if "url" in door:
        return StreamableHttpTransport(door["url"], headers={"Authorization": door["authorization"]})
    command, *arguments = door["command"]
    return StdioTransport(command, arguments)


async def play(name, door):
    offered, told = set(), []
    calls = [call for call in plan["calls"] if call["door"] == name]

    def model(messages, info):
        offered.update(f"{name}/{tool.name}" for tool in info.function_tools)
        told.clear()
        for part in (part for message in messages for part in message.parts):
            if isinstance(part, ToolReturnPart):
                told.append({"text": part.model_response_str(), "is_error": part.outcome != "success"})
        if len(told) == len(calls):
            return ModelResponse(parts=[TextPart("done")])
        call = calls[len(told)]
        return ModelResponse(parts=[ToolCallPart(call["tool"], call["arguments"])])

    agent = Agent(FunctionModel(model), toolsets=[MCPToolset(reach(door))])
    async with agent:
        await agent.run("Play the script.")
    return offered, told


async def main():
    offered, told = [], []
    for name, door in plan["doors"].items():
        seen, heard = await play(name, door)
        offered += sorted(seen)
        told += heard
    return {"offered": offered, "told": told}


print(json.dumps(asyncio.run(main())))
