package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
)

// TestMain lets the test binary be the children that the bench starts, and a
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
	// With -race, a process would wait a second before it exits.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	m.Run()
}

// newBench returns a bench of a stand-in for the service.
func newBench(t *testing.T) *bench {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &bench{
		options: options{rounds: 1, stall: time.Minute, dir: t.TempDir()},
		self:    exe, auditdrain: exe, token: auditdrain.NewTokenValue(),
		folders: make(map[folder]string), progress: t.Output(),
	}
}

var tinyRates = rates{events: 80, concurrency: 4, callers: 4, loads: []load{{1, 10}, {2, 15}}}

// All runs of one section, with real processes; only the service is a
// stand-in.
func TestMeasure(t *testing.T) {
	// None of this may reach the children: the fake service checks.
	t.Setenv("AWS_CA_BUNDLE", "/nowhere")
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://192.0.2.1")
	t.Setenv("AUDITDRAIN_RETAIN", "1h")

	b := newBench(t)
	b.rounds = 2
	var progress strings.Builder
	b.progress = &progress
	c, err := tinyRates.measure(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if rows := c.parts[0].table.rows; len(rows) != 4 || rows[0][2] != "1.00" && rows[0][3] != "1.00" {
		t.Errorf("rows: %q", rows)
	}
	if n := strings.Count(progress.String(), "\n"); n != 8 {
		t.Errorf("%d lines of progress, want 8:\n%s", n, &progress)
	}
	// The order rotates.
	if !strings.HasPrefix(progress.String(), "round 1 of 2: bare loop ") || !strings.Contains(progress.String(), "\nround 2 of 2: loop of the SDK") {
		t.Errorf("progress:\n%s", &progress)
	}
	left, err := os.ReadDir(b.dir)
	if err != nil || len(left) != len(b.folders) {
		t.Errorf("left behind in the directory, besides %d folders: %v, %v", len(b.folders), left, err)
	}
}

func TestResult(t *testing.T) {
	b := newBench(t)
	res, err := tinyRates.deliver(t.Context(), b, load{2, 15})
	if err != nil {
		t.Fatal(err)
	}
	if res.events != 80 {
		t.Errorf("%d events, want 80 without those for warming up", res.events)
	}
	if res.bytes < 80*500 || res.elapsed <= 0 || res.client.cpu <= 0 || res.null.cpu <= 0 || res.poster.cpu <= 0 || res.client.peakRSS <= 0 || res.client.rss <= 0 {
		t.Errorf("something was not measured: %+v", res)
	}
	res, err = b.bareLoop(t.Context(), 50, 4)
	if err != nil {
		t.Fatal(err)
	}
	if res.events != 50 || res.elapsed <= 0 || res.client.cpu <= 0 || res.poster.cpu != 0 {
		t.Errorf("the bare loop: %+v", res)
	}
}

// withFault gives the stand-in a fault in the runs with two drains.
func withFault(t *testing.T, b *bench, fault string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "fault"), []byte(fault), 0o600); err != nil {
		t.Fatal(err)
	}
	b.folders[folder{teams: 2, drains: true}] = dir
}

func TestMeasureRefusesABadService(t *testing.T) {
	for fault, want := range map[string]string{
		"lose":      "81 PUTs for 82 acknowledged events, and none for",
		"twice":     "83 PUTs for 82 acknowledged events",
		"elsewhere": "not every bucket has its events",
		"duplicate": `15 new events: {"accepted":14,"duplicates":1}`,
		"refuse":    "507 Insufficient Storage: disk full",
		"full":      "put off for 5s: 503 Service Unavailable: disk full",
		"exit":      "exit status 1\nno clean shutdown",
		"hang":      "i/o timeout",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			withFault(t, b, fault)
			if fault == "lose" || fault == "hang" || fault == "full" {
				b.stall = 5 * time.Second
			}
			_, err := tinyRates.deliver(t.Context(), b, load{2, 15})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got error %v, want one with %q", err, want)
			}
		})
	}
}

// What is put off is repeated, and told.
func TestPosterRepeats(t *testing.T) {
	b := newBench(t)
	withFault(t, b, "busy")
	res, err := tinyRates.deliver(t.Context(), b, load{2, 15})
	if err != nil || res.refused != 1 {
		t.Errorf("%d calls put off, %v, want 1", res.refused, err)
	}
}

func TestParseOptions(t *testing.T) {
	o, err := parseOptions([]string{"-only", "d,a", "-rounds", "3"})
	if err != nil {
		t.Fatal(err)
	}
	if letters(o) != "ad" || o.rounds != 3 {
		t.Errorf("options: %+v", o)
	}
	o, err = parseOptions([]string{"-o", "x.md"})
	if err != nil || letters(o) != letters(options{sections: sections()}) || o.rounds != 5 || o.out != "x.md" {
		t.Errorf("options: %+v, %v", o, err)
	}
	for _, args := range [][]string{{"-only", "a,z"}, {"-rounds", "0"}, {"-only", "a", "-o", "x.md"}, {"more"}} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%q: accepted", args)
		}
	}
}

func letters(o options) string {
	return strings.Join(slices.Collect(func(yield func(string) bool) {
		for _, s := range o.sections {
			yield(s.letter)
		}
	}), "")
}
