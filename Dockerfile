FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /auditdrain ./cmd/auditdrain
RUN mkdir /data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /auditdrain /auditdrain
# Numeric, so that Kubernetes can check runAsNonRoot.
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
VOLUME /data
ENV AUDITDRAIN_DATA=/data AUDITDRAIN_LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["/auditdrain"]
CMD ["serve"]
