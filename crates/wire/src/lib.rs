//! MCP as bytes: JSON-RPC, eras, headers, SSE and stdio framing.
