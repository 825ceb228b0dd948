"""The only module of the client that uses a private name of grpcio. Checked with grpcio 1.85.

Without that name, a call works as grpc.aio has it: the server's reason is lost if it refuses an upload early.
"""

from typing import Any


def keep_status_of_server(call: Any) -> None:
    """Let *call*, an upload of grpc.aio that was just made, end with the server's status also after a failed write.

    Call it before anything is awaited: the tasks of *call* begin at the next wait.
    """
    if hasattr(call, "_cython_call"):
        call._cython_call = _WithoutInternalErrors(call._cython_call)  # noqa: SLF001 - see above


class _WithoutInternalErrors:
    """The core's part of a call of grpc.aio, without `set_internal_error`.

    grpc.aio calls it when a write fails, which happens whenever the server ends the call before it has read everything.
    The call's status is INTERNAL then, and the server's, with its reason, is lost. Without it the call waits for that.
    https://github.com/grpc/grpc/blob/master/src/python/grpcio/grpc/aio/_call.py (`_StreamRequestMixin._write`)
    """

    def __init__(self, core: Any) -> None:
        self._core = core

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def set_internal_error(self, error: str) -> None:
        """Do nothing. The core ends each call with a status, also when the connection is lost."""
