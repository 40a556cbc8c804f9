# Builds with any base that has Python 3.11 or newer with venv at the same path in both stages.
ARG BASE=python:3.13-slim

FROM ${BASE} AS builder
WORKDIR /src
COPY constraints.txt ./
COPY pyproject.toml README.md LICENSE ./
COPY hsmirror ./hsmirror
RUN python3 -m venv /opt/hsmirror \
 && /opt/hsmirror/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[zstd]'

FROM ${BASE}
COPY --from=builder /opt/hsmirror /opt/hsmirror
# /state holds the count of requests that runs with one key share. It has to be on a local disk, and is worth
# a volume of its own only where runs are less than an hour apart. Both are open to every user, since `--user`
# picks any; the archive itself is made for its owner alone.
RUN mkdir /data /state && chmod 1777 /data /state
ENV PATH=/opt/hsmirror/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    XDG_STATE_HOME=/state
USER 10001:10001
# hsmirror.toml is looked for here, and the archive is ./archive unless configured otherwise: not the volume's
# root itself, which is not empty on a fresh ext4 volume (lost+found).
WORKDIR /data
VOLUME /data
ENTRYPOINT ["hsmirror"]
