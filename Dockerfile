# One small image for every role. The first build compiles RocksDB, which takes 15 to 35 minutes on two cores; after that
# only what has changed is built again, as dependencies have layers of their own.
ARG RUST_IMAGE=rust:1-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# The workspace without its code: changes only where a manifest does.
FROM ${RUST_IMAGE} AS skeleton
WORKDIR /workspace
COPY . .
RUN scripts/docker-skeleton /skeleton

FROM ${RUST_IMAGE} AS build
# bindgen loads libclang to read RocksDB's C header.
RUN dpkg -s libclang-dev >/dev/null 2>&1 \
    || (apt-get update && apt-get install -y --no-install-recommends libclang-dev && rm -rf /var/lib/apt/lists/*)
WORKDIR /workspace
COPY --from=skeleton /skeleton .
RUN cargo build --release --locked --package assent --bin assent
COPY . .
# As one program: four minutes more, and a tenth faster (docs/decisions/0020-how-it-is-compiled.md).
ARG LTO=fat
# The copied files are older than what was built from the skeleton.
RUN find crates proto -type f -exec touch {} + \
    && cargo rustc --release --locked --package assent --bin assent -- -C lto=${LTO} \
    && scripts/docker-rootfs "${CARGO_TARGET_DIR:-target}/release/assent" /rootfs

FROM ${RUNTIME_IMAGE}
LABEL org.opencontainers.image.title="Assent" \
      org.opencontainers.image.description="Consent for health data, provable: sequencer, prover, validator, mock base chain" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /rootfs/assent /usr/local/bin/assent
# 65532 is the image's user nonroot. The folders are there so that new volumes belong to it.
COPY --from=build --chown=65532:65532 /rootfs/folders/ /
USER 65532:65532
ENV ASSENT_LOG_FORMAT=json
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/assent"]
CMD ["--help"]
