# kdcap in a container. docs/container.md has the whole story; in short:
#   docker build -t kdcap .                  (CPU build of torch: TORCH=cpu make image, with its index in PIP_EXTRA_INDEX_URL)
#   docker run --gpus all -v kdcap:/kdcap kdcap dvc repro
# Neither a `# syntax=` line nor heredocs: engines without a registry at hand, and older ones, build it too.
ARG BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

# What the image has beside Python and kdcap.
FROM ${BASE} AS system
# The tini of the day: it is the one package that the base digest does not pin. The SBOM has its version.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 kdcap \
 && install -d -m 1777 /kdcap

# All that kdcap depends on: the large layer, the same until a lock changes.
FROM ${BASE} AS dependencies
ARG TORCH=cuda
# Where an index is private: its certificates come as a secret, its addresses as arguments, and neither stays.
ARG PIP_CERT
ARG SSL_CERT_FILE
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/base.lock requirements/torch-${TORCH}.lock requirements/wheel[s] requirements/
# The image's environment has no pip of its own. requirements/wheels: wheels that no index has here, if there are any.
RUN --mount=type=secret,id=build_ca \
    python3 -m venv /opt/build \
 && python3 -m venv --without-pip /opt/kdcap \
 && /opt/build/bin/pip --python /opt/kdcap/bin/python install --require-hashes --no-deps --find-links requirements \
      -r requirements/base.lock -r "requirements/torch-${TORCH}.lock"

# kdcap itself, the workspace that volumes are filled from, and the bill of materials of the whole image.
FROM dependencies AS build
COPY requirements/supply.lock requirements/
RUN --mount=type=secret,id=build_ca \
    /opt/build/bin/pip install --require-hashes --no-deps -r requirements/supply.lock
COPY . .
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
 && /opt/build/bin/pip --python /opt/kdcap/bin/python install --no-deps --no-index --root /app /tmp/wheel/*.whl \
 && mkdir -p /app/opt/kdcap/workspace/requirements /app/opt/kdcap/share \
 && cp -r .dvc .dvcignore dvc.yaml params.yaml profiles harness analysis report reference /app/opt/kdcap/workspace \
 && cp requirements/base.lock requirements/torch-cuda.lock /app/opt/kdcap/workspace/requirements
COPY --from=system /var/lib/dpkg /tmp/dpkg
RUN /opt/build/bin/cyclonedx-py environment --no-validate --output-reproducible --pyproject pyproject.toml \
      --output-file /tmp/environment.cdx.json /opt/kdcap/bin/python \
 && /opt/build/bin/python requirements/sbom.py /tmp/environment.cdx.json /tmp/dpkg /app/opt/kdcap/share/sbom.cdx.json

FROM system
COPY --from=dependencies /opt/kdcap /opt/kdcap
COPY --from=build /app/opt/kdcap /opt/kdcap
# Deterministic kernels and hashes; one thread a run unless its description says otherwise; a checkpoint every epoch.
ENV PATH=/opt/kdcap/bin:$PATH \
    LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1 PYTHONHASHSEED=0 \
    CUBLAS_WORKSPACE_CONFIG=:4096:8 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    KDCAP_PROFILE=paper KDCAP_CHECKPOINT_EVERY=0
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
ARG BASE
LABEL org.opencontainers.image.title="kdcap" \
      org.opencontainers.image.description="Statistical reproducibility harness: is this distillation result real?" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="GPL-3.0-or-later" \
      org.opencontainers.image.base.name="${BASE}"
ENV KDCAP_REVISION=${REVISION}
USER 1000
WORKDIR /kdcap
# tini: dvc must not be process 1 - killed as such it leaves a lock that names a process every container has.
ENTRYPOINT ["tini", "--", "python3", "-m", "harness.container"]
CMD ["harness", "--help"]
