# Gateway (and simulated plant): OPC UA in and out, no torch. Build from the repository root:
#   docker build -f docker/gateway.Dockerfile -t lineside-gateway .
FROM python:3.11-slim
RUN useradd --create-home --uid 10001 lineside && install -d -o lineside /data /data/pki /config
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY gateway gateway
COPY plugins plugins
COPY workers workers
COPY plant plant
COPY trials trials
RUN pip install --no-cache-dir -c constraints.txt ".[gateway,plant]"
USER lineside
VOLUME ["/data", "/data/pki"]
EXPOSE 4850
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["lineside", "status", "--health", "-c", "/config/lineside.yaml"]
ENTRYPOINT ["lineside"]
CMD ["run", "/config/lineside.yaml"]
