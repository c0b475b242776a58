# One image for every process: docker run … cronsvc api | scheduler | worker | migrate
FROM python:3.13-slim-bookworm AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy PIP_DISABLE_PIP_VERSION_CHECK=1
RUN pip install --no-cache-dir uv==0.13.9 && python -m venv /opt/cronsvc
WORKDIR /source
# The dependencies are a layer of their own. The lock pins and hashes more than is installed here: uv checks what it uses.
COPY pyproject.toml requirements.lock ./
RUN uv pip install --no-cache --python /opt/cronsvc/bin/python --constraint requirements.lock --requirement pyproject.toml
COPY README.md LICENSE ./
COPY cronsvc ./cronsvc
RUN uv pip install --no-cache --python /opt/cronsvc/bin/python --no-deps .

FROM python:3.13-slim-bookworm
COPY --from=build /opt/cronsvc /opt/cronsvc
ENV PATH=/opt/cronsvc/bin:$PATH PYTHONUNBUFFERED=1 CRONSVC_LOG_FORMAT=json
WORKDIR /tmp
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=60s --timeout=15s --start-period=20s CMD ["cronsvc", "check"]
ENTRYPOINT ["cronsvc"]
CMD ["--help"]
