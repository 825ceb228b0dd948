"""How the commands reach the server: where, over TLS or not, and with which token."""

import argparse
import os

import grpc

from ilab_chat._security import PlaintextToken, tls_credentials
from ilab_chat._target import AddressError, check_target
from ilab_chat.cli import environment, files, output
from ilab_chat.sync import ChatClient


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what a server may ask for."""
    group = parser.add_argument_group("security")
    group.add_argument(
        "--tls", action="store_true", help="use TLS and trust the certificate authorities that gRPC comes with"
    )
    group.add_argument(
        "--tls-ca", metavar="FILE", help="use TLS and trust the certificate authorities in this PEM file"
    )
    group.add_argument("--tls-cert", metavar="FILE", help="use TLS with this client certificate (PEM)")
    group.add_argument("--tls-key", metavar="FILE", help="private key of the client certificate (PEM)")
    group.add_argument(
        "--token-file",
        metavar="FILE",
        default=os.environ.get(environment.TOKEN_FILE) or None,
        help=f"file with a bearer token (default: ${environment.TOKEN_FILE}, or the token in ${environment.TOKEN})",
    )
    group.add_argument(
        "--allow-plaintext-token",
        action="store_true",
        help="send the token to another machine even without TLS, for instance if a sidecar encrypts",
    )


def connect(arguments: argparse.Namespace) -> ChatClient:
    """Return a client for this run.

    Raises:
        CommandError: the options contradict each other, or a file cannot be read.
    """
    try:
        return ChatClient(
            arguments.address,
            credentials=credentials(arguments),
            timeout=arguments.timeout,
            token=token(arguments),
            allow_plaintext_token=arguments.allow_plaintext_token,
        )
    except ValueError as error:
        raise wrong_usage(error) from None


def channel(arguments: argparse.Namespace) -> grpc.Channel:
    """Return a channel for what is not part of the client. It needs no token.

    Raises:
        CommandError: the options contradict each other or cannot be understood, or a file cannot be read.
    """
    secured = credentials(arguments)
    try:
        target = check_target(arguments.address, None, secured)
    except ValueError as error:
        raise wrong_usage(error) from None
    if secured is None:
        return grpc.insecure_channel(target.name, target.plain_options())
    return grpc.secure_channel(target.name, secured, target.plain_options())


def wrong_usage(error: ValueError) -> output.CommandError:
    """Return the failure of a run whose options cannot be used, with what to type."""
    if isinstance(error, AddressError):
        flags = " --tls" if error.needs_tls else ""
        return output.CommandError(f"{error.fault}: type --address {error.meant}{flags}", output.EXIT_USAGE)
    if isinstance(error, PlaintextToken):
        return output.CommandError(f"{error.fault}: use --tls, or --allow-plaintext-token", output.EXIT_USAGE)
    return output.CommandError(str(error), output.EXIT_USAGE)


def credentials(arguments: argparse.Namespace) -> grpc.ChannelCredentials | None:
    """Return the TLS credentials. None: the connection is plaintext."""
    names = {"ca_file": arguments.tls_ca, "cert_file": arguments.tls_cert, "key_file": arguments.tls_key}
    if not arguments.tls and not any(names.values()):
        return None
    try:
        return tls_credentials(**names)
    except OSError as error:
        raise files.unreadable(error) from None
    except ValueError as error:
        raise output.CommandError(str(error), output.EXIT_USAGE) from None


def token(arguments: argparse.Namespace) -> str | None:
    """Return the bearer token. None: none is set.

    Raises:
        CommandError: the file cannot be read.
    """
    if arguments.token_file is None:
        return os.environ.get(environment.TOKEN) or None
    return files.read_text(arguments.token_file).strip()
