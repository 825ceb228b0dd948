from __future__ import annotations

import grpc

from ilab_chat_service.auth.callers import InvalidCredentials, MissingCredentials, UserMismatch
from ilab_chat_service.failures import Failure, FieldRefused, ModelRejected
from ilab_chat_service.rpc.error_table import INTERNAL, TABLE, status_of
from ilab_chat_service.rpc.errors import (
    DeadlineExceeded,
    InterruptedByDrain,
    InvalidFields,
    NotFound,
    RequestTooLarge,
    ServerDraining,
    UnparsableRequest,
    WrongRequestCount,
)


def test_every_failure_has_a_row_and_every_row_a_failure() -> None:
    of_validation = {InvalidFields, RequestTooLarge}
    of_rpc = {DeadlineExceeded, InterruptedByDrain, NotFound, ServerDraining, UnparsableRequest, WrongRequestCount}
    of_callers = {InvalidCredentials, MissingCredentials, UserMismatch}
    # FieldRefused is only what the two below it have in common.
    of_ports = {*Failure.__subclasses__(), *FieldRefused.__subclasses__()} - {FieldRefused}
    assert set(TABLE) == {*of_ports, *of_rpc, *of_validation, *of_callers}


def test_no_row_says_cancelled_or_unknown() -> None:
    assert not {row.code for row in TABLE.values()} & {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN}


def test_an_unexpected_error_says_nothing_but_an_id() -> None:
    status = status_of(KeyError("SECRET"), "id-1")
    assert status.code == INTERNAL.code.value[0]
    assert status.message == "internal error id-1"
    assert b"SECRET" not in status.SerializeToString()


def test_an_error_of_ours_says_its_text() -> None:
    assert status_of(ModelRejected("the model's API refused the request: HTTP 401"), "id-1").message.endswith("401")
