"""A server over HTTP+SSE that asks who calls, written with the Python SDK 1."""

import sys

from mcp.server.fastmcp import Context, FastMCP
from pydantic import BaseModel


class Person(BaseModel):
    name: str


server = FastMCP("asks", host="127.0.0.1", port=int(sys.argv[1]), log_level="ERROR")


@server.tool()
async def greet(context: Context) -> str:
    """Asks for a name, and greets."""
    answer = await context.elicit("Who are you?", Person)
    return f"Hello, {answer.data.name}!" if answer.action == "accept" else f"So: {answer.action}"


server.run(transport="sse")
