# `python -m mim_tf.realtime`, for Compose and Kubernetes. From the repository's folder:
#   docker build -f serving/compose/realtime.Dockerfile -t mim-realtime .
# Not built where it was written, which had no Docker daemon.
FROM python:3.11-slim

WORKDIR /app
COPY setup.cfg pyproject.toml constraints.txt README.md LICENSE ./
COPY mim_tf mim_tf
COPY export export
COPY serving serving
RUN pip install --no-cache-dir --constraint constraints.txt .

# Away from /app: the package that was installed is the one that runs.
WORKDIR /tmp
USER 65534:65534
# TensorFlow, matplotlib and others want a place of their own to write to.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "-m", "mim_tf.realtime"]
