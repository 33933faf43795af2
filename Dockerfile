# CPU:  docker build -t tpuseg .
# GPU:  docker build -t tpuseg:gpu --build-arg EXTRAS=[gpu] .     (TensorFlow's CUDA libraries come with the extra)
#
# Run:  docker run --rm --user "$(id -u):$(id -g)" -v "$PWD":/work tpuseg train --experiment=deeplab_shapes
#       with --gpus all and tpuseg:gpu on a machine with the NVIDIA Container Toolkit (docs/gpu.md)
FROM python:3.11-slim

ARG EXTRAS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# The packages first: this layer stays as it is when only the code changes.
WORKDIR /opt/tpuseg
COPY requirements.txt requirements-gpu.txt constraints.txt ./
RUN pip install pip==26.3 \
    && pip install --prefer-binary -c constraints.txt -r requirements.txt \
    && if [ "$EXTRAS" = "[gpu]" ]; then pip install --prefer-binary -c constraints.txt -r requirements-gpu.txt; fi

COPY . .
RUN pip install --prefer-binary -c constraints.txt ".${EXTRAS}"

# Data sets, runs and downloaded weights (.keras) are in the working directory of the host, whoever its user is.
WORKDIR /work
RUN chmod 777 /work
ENV HOME=/work
USER 1000:1000
ENTRYPOINT ["tpuseg"]
CMD ["--help"]
