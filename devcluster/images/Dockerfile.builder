# The base with pip: what the first stages of the other Dockerfiles run in. Nothing of it ends up in an image.
ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip && rm -rf /var/lib/apt/lists/*
