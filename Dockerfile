# The server with its example models. One file, several images:
#   CPU    podman build --format docker -t elman .
#   CUDA   podman build --format docker -t elman:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
# `docker build` takes the same arguments (without --format). deploy/README.md has the rest.

# Any Debian-based image with Python 3.11 or newer and its venv module. The CUDA libraries come with torch's wheels.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm


# What the server leans on. This stage changes only with constraints.txt and the three pyproject.toml files.
FROM ${PYTHON_IMAGE} AS dependencies
# Where torch comes from; empty means pip's own index.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# pip lives beside the server's environment, not in it, so that it stays behind in this stage.
RUN python3 -m venv /build/pip && python3 -m venv --without-pip /opt/elman
COPY constraints.txt ./

# In each of the installs below: pip's settings and the certificates of the machine that builds, if it has any to give
# (--secret id=pip_conf,src=... --secret id=ca_bundle,src=...), and the wheels in deploy/wheels, if there are any.
# torch comes alone, so that its index is asked for nothing else, and first, so that its layer lives the longest.
# Headers, tests and protoc are a quarter of it; only compiling against torch needs them. torch_shm_manager stays,
# because `import torch` looks for it.
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca_bundle,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=bind,source=deploy/wheels,target=/wheels \
    pip/bin/pip --python /opt/elman/bin/python install --no-deps --constraint constraints.txt --find-links /wheels \
        ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch && \
    rm -rf /opt/elman/lib/python3*/site-packages/torch/include \
        /opt/elman/lib/python3*/site-packages/torch/test \
        /opt/elman/lib/python3*/site-packages/torch/share/cmake && \
    find /opt/elman/lib/python3*/site-packages/torch/bin -mindepth 1 ! -name torch_shm_manager -delete

COPY deploy/requirements.py ./
COPY models/pyproject.toml models/
COPY client/pyproject.toml client/
COPY server/pyproject.toml server/
# The dependencies alone, the three siblings left out: a change in the source does not come past here.
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca_bundle,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=bind,source=deploy/wheels,target=/wheels \
    python3 requirements.py > requirements.txt && \
    pip/bin/pip --python /opt/elman/bin/python install --constraint constraints.txt --find-links /wheels \
        --requirement requirements.txt && \
    /opt/elman/bin/python -c "import torch"


# The three packages, in a tree of their own: changed source is a small layer over the large one.
FROM dependencies AS packages
COPY models/ models/
COPY client/ client/
COPY server/ server/
# --no-build-isolation: setuptools is there already, torch asks for it.
RUN pip/bin/pip --python /opt/elman/bin/python install --root /packages --no-index --no-deps --no-build-isolation \
        --no-warn-script-location \
        ./models ./client ./server


# The native door. The compiler stays behind here; /native has the extension, and the libraries that it takes and the
# base image lacks. Without this stage's line in the last one the server runs all the same, with its plain door.
FROM ${PYTHON_IMAGE} AS native
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python3 -m venv /build/pip && python3 -m venv --without-pip /opt/elman && \
    find /lib/*-linux-gnu /usr/lib/*-linux-gnu -name '*.so*' -printf '%f\n' > in-base
# Python's headers come with an image of Python's own; where Python is Debian's, they are a package.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends g++ pkg-config libgrpc++-dev libprotobuf-dev && \
    { [ -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || \
        apt-get install --yes --no-install-recommends python3-dev; } && \
    rm -rf /var/lib/apt/lists/*
COPY constraints.txt ./
COPY server/native/ native/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca_bundle,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=bind,source=deploy/wheels,target=/wheels \
    PIP_CONSTRAINT=/build/constraints.txt pip/bin/pip --python /opt/elman/bin/python install --root /native \
        --no-deps --find-links /wheels --no-warn-script-location ./native && \
    mkdir -p /native/usr/local/lib && \
    ldd /native/opt/elman/lib/python3*/site-packages/elman_native/*.so > linked && \
    awk '$3 ~ /^\// { print $3 }' linked > libraries && \
    while read -r library; do \
        grep -qx "$(basename "$library")" in-base || cp --dereference "$library" /native/usr/local/lib/; \
    done < libraries


FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="elman" \
      org.opencontainers.image.description="gRPC inference server for stacked recurrent networks" \
      org.opencontainers.image.licenses="Apache-2.0"
# The base image may bring pip along; nothing in a running container should install anything.
RUN useradd --no-log-init --no-create-home --home-dir /tmp --shell /usr/sbin/nologin --uid 10001 elman && \
    rm -rf /usr/local/bin/pip* /usr/local/bin/wheel /usr/share/python-wheels \
        /usr/lib/python3*/ensurepip /usr/local/lib/python3*/ensurepip /usr/lib/python3/dist-packages/pip* \
        /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/site-packages/setuptools* \
        /usr/local/lib/python3*/site-packages/wheel*
COPY --from=dependencies /opt/elman /opt/elman
COPY --from=native /native /
RUN ldconfig
COPY --from=packages /packages /
COPY models/bundles /models

# Nothing is written at run time but in /tmp, so the root may be read-only. The NVIDIA_ pair is what NVIDIA's
# container runtime looks for; without a GPU it means nothing. With the tunable malloc asks for huge pages
# (docs/operations.md).
ENV PATH=/opt/elman/bin:$PATH \
    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    ELMAN_MODELS=/models \
    ELMAN_LISTEN=0.0.0.0:8470 \
    ELMAN_METRICS_LISTEN=0.0.0.0:9470
USER 10001:10001
EXPOSE 8470 9470
# SIGTERM lets what is queued finish, then ends with 0.
STOPSIGNAL SIGTERM
# Asks the gRPC health service, on whichever port or unix socket ELMAN_LISTEN names. The start covers loading and measuring the plans.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["/bin/sh", "-c", "case \"$ELMAN_LISTEN\" in unix:*) target=$ELMAN_LISTEN;; *) target=127.0.0.1:${ELMAN_LISTEN##*:};; esac; exec elman-server health --target \"$target\""]
ENTRYPOINT ["elman-server"]
CMD ["serve"]
