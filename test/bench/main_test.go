package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be the children that measure starts, and the
// service too.
func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 {
		run, ok := children[os.Args[1]]
		if os.Args[1] == "serve" {
			run, ok = runFakeService, true
		}
		if ok {
			if err := run(ctx, os.Args[2:], os.Stdin, os.Stdout); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	m.Run()
}

func testOptions(t *testing.T) options {
	t.Helper()
	// With -race, a process would wait a second before it exits.
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return options{
		rounds: 1, modes: []mode{modeBare, modeSDK, modeAuditdrain}, events: 1000, concurrency: 4, senders: 4,
		stall: time.Minute, dir: t.TempDir(), bench: exe, service: exe,
	}
}

// All modes, with real processes; only the service is a stand-in.
func TestMeasureRounds(t *testing.T) {
	// None of this may reach the children: the fake service checks.
	t.Setenv("AWS_CA_BUNDLE", "/nowhere")
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://192.0.2.1")
	t.Setenv("AUDITDRAIN_RETAIN", "1h")

	o := testOptions(t)
	o.rounds = 2
	var progress strings.Builder
	rounds, err := measureRounds(t.Context(), o, &progress)
	if err != nil {
		t.Fatal(err)
	}
	if len(rounds) != o.rounds {
		t.Fatalf("%d rounds, want %d", len(rounds), o.rounds)
	}
	for i, r := range rounds {
		for m := range mode(len(modeTitles)) {
			res := r[m]
			if res.events != o.events {
				t.Errorf("round %d, %s: %d events, want %d without those for warming up", i, m.title(), res.events, o.events)
			}
			if res.elapsed <= 0 || res.client.cpu <= 0 || res.null.cpu <= 0 || res.client.peakRSS <= 0 {
				t.Errorf("round %d, %s: something was not measured: %+v", i, m.title(), res)
			}
			if hasPoster := res.poster.cpu > 0; hasPoster != (m == modeAuditdrain) {
				t.Errorf("round %d, %s: poster's CPU %v", i, m.title(), res.poster.cpu)
			}
		}
	}
	if n := strings.Count(progress.String(), "\n"); n != 6 {
		t.Errorf("%d lines of progress, want 6:\n%s", n, &progress)
	}
	left, err := os.ReadDir(o.dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind in the data directory: %v, %v", left, err)
	}
}

func TestMeasureRefusesABadService(t *testing.T) {
	for fault, want := range map[string]string{
		"lose":      "1099 PUTs for 1100 acknowledged events, and none for",
		"twice":     "1101 PUTs for 1100 acknowledged events",
		"duplicate": `batch of 100 new events: {"accepted":99,"duplicates":1}`,
		"refuse":    "507 Insufficient Storage: disk full",
		"exit":      "exit status 1\nno clean shutdown",
		"hang":      "Client.Timeout exceeded",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Setenv("FAKE_SERVICE_FAULT", fault)
			o := testOptions(t)
			if fault == "lose" || fault == "hang" {
				o.stall = 2 * time.Second
			}
			_, err := measure(t.Context(), o, modeAuditdrain)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got error %v, want one with %q", err, want)
			}
		})
	}
}

func TestParseOptions(t *testing.T) {
	o, err := parseOptions([]string{"-modes", "sdk,bare", "-rounds", "3", "-o", "x.md"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.modes, []mode{modeSDK, modeBare}) || o.rounds != 3 || o.out != "x.md" || o.events != 40_000 || o.concurrency != 64 {
		t.Errorf("options: %+v", o)
	}
	for _, args := range [][]string{
		{"-modes", "bare,fast"}, {"-rounds", "0"}, {"-concurrency", "0"}, {"-senders", "-1"},
		{"-events", "0"}, {"-events", "15000"}, {"more"},
	} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%q: accepted", args)
		}
	}
}
