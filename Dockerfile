# The image of a worker and of a gateway; the simulator and the command line are in it too.
FROM python:3.13-slim AS build

ENV PIP_NO_CACHE_DIR=1
WORKDIR /source

# Dependencies first: their layer stays when only the source changes.
COPY deploy/image deploy/image
RUN deploy/image/install.sh dependencies /opt/runqueue
COPY . .
# There is no git here: a build says its version, or is 1.0.0.dev0 without a commit.
ARG HATCH_BUILD_VERSION=
RUN deploy/image/install.sh packages /opt/runqueue

FROM python:3.13-slim

ENV PATH=/opt/runqueue/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --home-dir /app runqueue
WORKDIR /app
COPY --from=build /opt/runqueue /opt/runqueue
# A volume that is put here belongs to who runs the gateway: it writes the token for Prometheus there.
# Its own token, where no others are set up, it writes to .runqueue.
RUN mkdir /run/runqueue && chown runqueue /run/runqueue \
    && install --directory --owner runqueue --mode 0700 .runqueue

USER runqueue
ENV RUNQUEUE_METRICS_HOST=0.0.0.0 RUNQUEUE_METRICS_PORT=9464 \
    RUNQUEUE_GATEWAY_HOST=0.0.0.0 RUNQUEUE_GATEWAY_PORT=8080
EXPOSE 8080 9464
# The first SIGTERM drains: calls on the wire are finished and recorded.
STOPSIGNAL SIGTERM
CMD ["runqueue", "worker"]
