"""Plays the script with openai-agents. Takes the plan as JSON, prints what the model was told as JSON."""

import asyncio
import json
import sys

from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage, set_tracing_disabled
from agents.mcp import MCPServerStdio, MCPServerStreamableHttp
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

plan = json.loads(sys.argv[1])
set_tracing_disabled(True)


def reach(door):
    if "url" in door:
        params = {"url": door["url"], "headers": {"Authorization": door["authorization"]}, "timeout": 30}
        return MCPServerStreamableHttp(params, client_session_timeout_seconds=30)
    command, *arguments = door["command"]
    return MCPServerStdio({"command": command, "args": arguments}, client_session_timeout_seconds=30)


class Script(Model):
    def __init__(self, calls):
        self.calls, self.offered, self.told = calls, set(), []

    async def get_response(self, system_instructions, input, model_settings, tools, *rest, **more):
        self.offered.update(tool.name for tool in tools)
        items = [item for item in input if isinstance(item, dict)]
        outputs = [item["output"] for item in items if item.get("type") == "function_call_output"]
        self.told = [{"text": json.dumps(output), "is_error": None} for output in outputs]
        if len(outputs) < len(self.calls):
            call = self.calls[len(outputs)]
            said = ResponseFunctionToolCall(
                type="function_call", call_id=f"call_{len(outputs)}", name=call["tool"], arguments=json.dumps(call["arguments"])
            )
        else:
            text = ResponseOutputText(type="output_text", text="done", annotations=[])
            said = ResponseOutputMessage(type="message", id="msg", role="assistant", status="completed", content=[text])
        return ModelResponse(output=[said], usage=Usage(), response_id=None)

    def stream_response(self, *rest, **more):
        raise NotImplementedError


async def main():
    offered, told = [], []
    for name, door in plan["doors"].items():
        model = Script([call for call in plan["calls"] if call["door"] == name])
        async with reach(door) as server:
            agent = Agent(name="player", model=model, mcp_servers=[server])
            # Otherwise a call of a tool that it does not have ends the run.
            config = RunConfig(tool_not_found_behavior="return_error_to_model")
            await Runner.run(agent, "Play the script.", run_config=config)
        offered += [f"{name}/{tool}" for tool in sorted(model.offered)]
        told += model.told
    return {"offered": offered, "told": told}


print(json.dumps(asyncio.run(main())))
