"""A robot at one machine, what drives it at another: WebSocket, msgpack, a token, a heartbeat."""
