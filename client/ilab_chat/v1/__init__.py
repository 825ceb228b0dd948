"""Generated from protos/ilab_chat/v1: messages, stubs and their types. `make generate` writes them."""
