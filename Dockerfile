# syntax=docker/dockerfile:1
# The server on SQLite or PostgreSQL, the HTTP gateway (another entry point), and the commands ilab-chat and
# ilab-memory. Build it with `make image`.
#   BASE   image with Python 3.11 or newer and a C library of Debian, for both stages. Pin it by digest for a release
#   BUILD  identifier of the build, for instance a commit: shown by --version and in the log
# Packages of others are wheels with the hashes of deploy/requirements.txt, which `make image-requirements` writes.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY deploy/requirements.txt deploy/requirements-build.txt /src/deploy/
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: --requirement /src/deploy/requirements-build.txt \
    && python -m venv /opt/ilab-chat \
    && /opt/ilab-chat/bin/pip install --require-hashes --only-binary :all: --requirement /src/deploy/requirements.txt
COPY pyproject.toml README.md LICENSE CHANGELOG.md /src/
COPY client /src/client
COPY protos /src/protos
COPY third_party /src/third_party
COPY memory /src/memory
COPY service /src/service
COPY gateway /src/gateway
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheels \
        /src/memory /src /src/service /src/gateway \
    && /opt/ilab-chat/bin/pip install --no-deps --no-index /wheels/*.whl \
    && /opt/ilab-chat/bin/pip check \
    && /opt/ilab-chat/bin/pip uninstall --yes pip \
    && /opt/ilab-chat/bin/python -m compileall -q /opt/ilab-chat/lib

FROM ${BASE}
ARG BUILD=""
LABEL org.opencontainers.image.title="ilab-chat" \
      org.opencontainers.image.description="A gRPC chat service that remembers its users" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${BUILD}"
RUN groupadd --gid 10001 ilab-chat \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin ilab-chat \
    && install --directory --owner=10001 --group=10001 --mode=0700 /data
COPY --from=build /opt/ilab-chat /opt/ilab-chat
# Nothing is written outside /data and /tmp: run it with a read-only root. The address is for a network of containers,
# where TLS or ILAB_CHAT_ALLOW_PLAINTEXT, and ILAB_CHAT_AUTH, must be set: the server refuses to start otherwise.
ENV PATH=/opt/ilab-chat/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/data \
    ILAB_CHAT_ADDRESS=0.0.0.0:50051 \
    ILAB_CHAT_BUILD=${BUILD} \
    ILAB_MEMORY_DB_PATH=/data/memory.db
VOLUME /data
WORKDIR /data
USER 10001:10001
EXPOSE 50051 8080 9464
STOPSIGNAL SIGTERM
# With TLS, set ILAB_CHAT_HEALTH to options of `ilab-chat health`, for instance "--tls-ca /tls/ca.crt --address name:50051".
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["sh", "-c", "exec ilab-chat health --timeout 4 ${ILAB_CHAT_HEALTH}"]
# The kernel drops a signal for process 1 that has no handler, but keeps a blocked one. Both commands unblock these two when
# they have handlers, so that SIGTERM is not lost while the interpreter starts.
ENTRYPOINT ["env", "--block-signal=TERM,INT", "ilab-chat-server"]
