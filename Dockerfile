# Built: docker build -t sluice .
# Run:   docker run -p 8000:8000 -e STATIC_ENGINES=host:6878 sluice

FROM node:22-bookworm-slim AS panel
WORKDIR /source/dashboard
COPY dashboard/package.json dashboard/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY dashboard .
RUN npm run build

FROM rust:1-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
COPY --from=panel /source/dashboard/dist/panel dashboard/dist/panel
RUN cargo build --release --locked --package sluice --bin sluice \
    && install -d -o 10001 -g 10001 /out/data \
    && install target/release/sluice /out/sluice

FROM debian:bookworm-slim
COPY --from=build /out/sluice /usr/local/bin/sluice
# A fresh volume takes over this owner, so that the process can write without being root.
COPY --from=build --chown=10001:10001 /out/data /data
ENV DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
# bash speaks TCP by itself; nothing else here does. A BIND_ADDR that leaves 127.0.0.1 out needs a check of its own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/bin/bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/${APP_PORT:-8000} && printf 'GET /proxy/health HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [[ $status == 200 ]]"]
ENTRYPOINT ["/usr/local/bin/sluice"]
