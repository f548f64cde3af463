package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"
)

// validDebugListen refuses what is not loopback: a profile of memory has
// credentials and events in it, and nobody is asked for a token there.
func validDebugListen(addr string) error {
	at, err := netip.ParseAddrPort(addr)
	if err != nil || !at.Addr().IsLoopback() {
		return usagef("--debug-listen: %q is not allowed: use a loopback address and a port, such as 127.0.0.1:6060", addr)
	}
	return nil
}

// serveDebug answers with Go's profiles on a listener of its own until stop is
// called. Without an address it does nothing.
func serveDebug(ctx context.Context, addr string, log *slog.Logger) (stop func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for profiles: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	serving := start(ctx, func(context.Context) error { return server.Serve(listener) })
	log.Info("profiles are served", "url", fmt.Sprintf("http://%s/debug/pprof/", listener.Addr()))
	return func() {
		_ = server.Close() // also of profiles that are being taken
		serving.stop()
		if !errors.Is(serving.err, http.ErrServerClosed) {
			log.Error("profiles could not be served", "err", serving.err)
		}
	}, nil
}
