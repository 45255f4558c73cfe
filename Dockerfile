# kdcap in a container: `docker build -t kdcap .`, then `docker run --gpus all -v kdcap:/kdcap kdcap dvc repro`.
# The CPU build of torch: --build-arg TORCH=cpu (its wheel is not on PyPI: see requirements/install.sh).
ARG BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS build
ARG TORCH=cuda
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /kdcap
COPY requirements requirements
RUN python3 -m venv /opt/kdcap \
 && /opt/kdcap/bin/pip install --require-hashes --no-deps -r requirements/base.lock -r requirements/torch-${TORCH}.lock \
 && python3 -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --no-deps -r requirements/base.lock -r requirements/dev.lock
COPY . .
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
 && /opt/kdcap/bin/pip install --no-deps /tmp/wheel/*.whl

FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 kdcap
COPY --from=build /opt/kdcap /opt/kdcap
COPY --from=build --chown=1000:1000 /kdcap /kdcap
# The published study by default; the study in miniature is `harness train --profile quick`.
RUN sed -i 's/^profile:.*/profile: paper/' /kdcap/params.yaml && chown 1000:1000 /kdcap /kdcap/params.yaml
ENV PATH=/opt/kdcap/bin:$PATH \
    CUBLAS_WORKSPACE_CONFIG=:4096:8 PYTHONHASHSEED=0 PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /kdcap
VOLUME /kdcap
# dvc must not be process 1: killed as such it leaves a lock that names a process every container has.
ENTRYPOINT ["tini", "--"]
CMD ["harness", "--help"]
