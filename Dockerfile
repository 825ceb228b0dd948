# syntax=docker/dockerfile:1
# The server on SQLite or PostgreSQL, the HTTP gateway (--entrypoint ilab-chat-gateway), and the commands ilab-chat and
# ilab-memory. Build it with `make image`.
#   BASE   image with Python 3.11 or newer and a C library of Debian, for both stages. Pin it by digest for a release
#   BUILD  identifier of the build, for instance a commit: shown by --version and in the log
#   EXTRAS extras of the service: postgres, otel for traces, and local for the embedded model
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
ARG EXTRAS=otel,postgres
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY pyproject.toml README.md LICENSE CHANGELOG.md constraints.txt /src/
COPY client /src/client
COPY protos /src/protos
COPY third_party /src/third_party
COPY memory /src/memory
COPY service /src/service
COPY gateway /src/gateway
RUN python -m venv /opt/ilab-chat \
    && /opt/ilab-chat/bin/pip install --constraint /src/constraints.txt \
        "/src/memory" "/src[cli]" "/src/service[${EXTRAS}]" "/src/gateway" \
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
ENTRYPOINT ["ilab-chat-server"]
