# Worker: Celery and torch, no OPC UA. Build from the repository root:
#   docker build -f docker/worker.Dockerfile -t lineside-worker .
# For CPU-only hosts choose torch's CPU build with --build-arg TORCH_INDEX=<index of the CPU wheels>.
FROM python:3.11-slim
ARG TORCH_INDEX=""
RUN useradd --create-home --uid 10001 lineside && install -d -o lineside /models /keys
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY gateway gateway
COPY plugins plugins
COPY workers workers
COPY plant plant
COPY trials trials
RUN if [ -n "$TORCH_INDEX" ]; then pip install --no-cache-dir --index-url "$TORCH_INDEX" torch==2.13.0; fi \
 && pip install --no-cache-dir -c constraints.txt ".[workers]"
USER lineside
ENV OMP_NUM_THREADS=1 LINESIDE_MODELS=/models LINESIDE_KEYS=/keys
VOLUME ["/models", "/keys"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-m", "lineside_workers", "health"]
ENTRYPOINT ["python", "-m", "lineside_workers"]
CMD ["serve", "--devices", "auto"]
