//! Agents and frameworks that people use, playing one script through `/mcp`, `/mcp/{server}` and
//! stdio before servers of either era: what their model is offered and told, what the servers
//! receive, what is recorded, and what each client sends. Nothing here leaves the machine.

mod claims;
mod claude_code;
mod codex;
mod gemini;
mod mcporter;
mod opencode;
mod python;
mod script;
mod sent;
mod stage;
