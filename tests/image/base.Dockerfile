# A stand-in for the pinned base image where no image registry can be reached: Debian's own Python 3.11. Not what ships.
ARG DEBIAN
FROM ${DEBIAN}
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
