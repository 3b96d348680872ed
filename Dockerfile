# syntax=docker/dockerfile:1
# One image, both halves: `trustbind webhook` and `trustbind operator`.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --tag trustbind/trustbind:VERSION .
#
# The base is an argument, so that it can be a mirror's, or pinned by digest: --build-arg PYTHON_IMAGE=...@sha256:...
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
RUN python3 -m venv /opt/trustbind
# The dependencies have a layer of their own: they change less often than the program.
COPY requirements/run.txt requirements/build.txt requirements/
RUN /opt/trustbind/bin/pip install --no-deps --only-binary :all: --require-hashes --no-compile -r requirements/run.txt
# What builds the program is not in the image.
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-deps --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY aws aws
COPY runtime runtime
COPY webhook webhook
COPY operator operator
COPY cli cli
COPY localaws localaws
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/trustbind/bin/pip install --no-deps --no-index --no-compile /dist/*.whl
COPY tools/image-trim.py tools/image-trim.py
RUN python3 tools/image-trim.py /opt/trustbind

FROM ${PYTHON_IMAGE}
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="trustbind" \
      org.opencontainers.image.description="AWS roles for Kubernetes workloads, in any account, with no stored keys" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/trustbind /opt/trustbind
# The user has no name in /etc/passwd; kopf asks for one (getpass), and takes LOGNAME.
ENV PATH=/opt/trustbind/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    LOGNAME=trustbind
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["trustbind"]
CMD ["--help"]
