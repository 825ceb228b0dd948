"""The documented methods over HTTP (`ilab-memory serve`) and MCP (`ilab-memory mcp`)."""
