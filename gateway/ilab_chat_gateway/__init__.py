"""The HTTP gateway of ilab-chat: a stateless client of the gRPC port."""
