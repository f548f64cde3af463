package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/google/go-cmp/cmp"
)

func at(rate int, cpu time.Duration) result {
	const events = 1000
	return result{
		events: events, elapsed: events * time.Second / time.Duration(rate),
		client: usage{cpu: events * cpu, peakRSS: 20 << 20}, null: usage{cpu: events * cpu / 2},
	}
}

func TestReport(t *testing.T) {
	r := report{
		machine: machine{date: time.Date(2026, 5, 22, 0, 0, 0, 0, time.UTC), cpu: "CPU", cores: 2, goVer: "go1", kernel: "Linux 6", fs: "ext4"},
		options: options{events: 1000, concurrency: 64, senders: 8},
		rounds: []round{
			{modeBare: at(10_000, 60*time.Microsecond), modeSDK: at(5_000, 200*time.Microsecond)},
			{modeBare: at(20_000, 70*time.Microsecond), modeSDK: at(4_000, 210*time.Microsecond)},
			// The machine was slow here: ratios must not mix rounds.
			{modeBare: at(2_000, 65*time.Microsecond), modeSDK: at(800, 220*time.Microsecond)},
		},
	}
	want := [][]string{
		{"", "events/s", "lowest–highest", "CPU µs/event", "null S3's CPU µs/event", "peak RSS MiB", "ratio to the limit"},
		{"bare loop of signed PUTs", "10,000", "2,000–20,000", "65", "32", "20", "1.00"},
		{"loop of SDK PutObject", "4,000", "800–5,000", "210", "105", "20", "0.40"},
	}
	if diff := cmp.Diff(want, r.table()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if notes := strings.Join(r.notes(), "\n"); strings.Contains(notes, "end to end is") || strings.Contains(notes, "Not alone") {
		t.Errorf("notes on what was not measured:\n%s", notes)
	}

	for _, rd := range r.rounds {
		res := rd[modeSDK]
		res.elapsed /= 2
		res.poster.cpu = 4 * time.Microsecond * time.Duration(res.events)
		rd[modeAuditdrain] = res
	}
	busy := r.rounds[1][modeBare]
	busy.others = 0.25
	r.rounds[1][modeBare] = busy
	notes := strings.Join(r.notes(), "\n")
	for _, want := range []string{"2.00 times as fast", "another 4 µs", "up to 25% of the machine", "3 rounds of 1,000 events"} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes lack %q:\n%s", want, notes)
		}
	}

	var text, md strings.Builder
	if err := r.writeText(&text); err != nil {
		t.Fatal(err)
	}
	if err := r.writeMarkdown(&md); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"CPU, 2 cores, go1, Linux 6, data on ext4\n\n",
		"bare loop of signed PUTs    10,000    2,000–20,000            65                      32            20                1.00\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("text lacks %q:\n%s", want, &text)
		}
	}
	for _, want := range []string{
		"on 2026-05-22: CPU, 2 cores",
		"| ratio to the limit |\n|---|---:|---:|---:|---:|---:|---:|\n| bare loop of signed PUTs | 10,000 |",
	} {
		if !strings.Contains(md.String(), want) {
			t.Errorf("Markdown lacks %q:\n%s", want, &md)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{5, 1}, 3}, {[]float64{9, 1, 2}, 2}} {
		if got := median(tc.in); got != tc.want {
			t.Errorf("median(%v) = %v, want %v", tc.in, got, tc.want)
		}
	}
}

func TestUsageIsWhatGetrusageTells(t *testing.T) {
	rusage := func() time.Duration {
		var ru syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
			t.Fatal(err)
		}
		return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	for end := rusage() + 50*time.Millisecond; rusage() < end; {
		// Use some CPU.
	}
	before := rusage()
	u, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// getrusage cuts to whole microseconds, user and system each.
	if after := rusage(); u.cpu < before || u.cpu > after+2*time.Microsecond {
		t.Errorf("CPU %v, getrusage says %v before and %v after", u.cpu, before, after)
	}
	if u.peakRSS < 1<<20 {
		t.Errorf("peak RSS %d", u.peakRSS)
	}
}

func TestUsageOfAnEndedProcess(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if u, err := usageOf(cmd.Process.Pid); err == nil {
		t.Errorf("no error, but %+v", u)
	}
}

func TestDescribeMachine(t *testing.T) {
	m := describeMachine(t.Context(), t.TempDir())
	if s := m.String(); strings.Contains(s, "unknown") || m.fs == "" {
		t.Errorf("machine: %s", s)
	}
}

// Events are what the service accepts, as large as the report says, and the
// ones of different seeds do not collide.
func TestEvents(t *testing.T) {
	seen := make(map[string]bool)
	var size int
	const n = 1000
	for seed := range uint64(3) {
		maker := newEventMaker(seed)
		for range n {
			e := maker.event("team_1")
			var fields struct {
				Schema, ID, TeamID string
				Timestamp          int64
				Payload            map[string]json.RawMessage
			}
			if err := json.Unmarshal(e.Body, &fields); err != nil {
				t.Fatal(err)
			}
			if seen[e.ID] || !auditdrain.ValidEventID(e.ID) {
				t.Errorf("id %q is not valid or not new", e.ID)
			}
			seen[e.ID] = true
			if fields.ID != e.ID || fields.Timestamp != e.Timestamp || fields.TeamID != "team_1" || fields.Schema != "vercel.audit_log.v1" {
				t.Errorf("fields %+v of %s", fields, e.Body)
			}
			size += len(e.Body)
		}
	}
	if mean := size / len(seen); mean < 650 || mean > 750 {
		t.Errorf("%d bytes an event, want about 700", mean)
	}
	if a, b := newEventMaker(7).event("t").ID, newEventMaker(7).event("t").ID; a != b {
		t.Errorf("one seed gave %s and %s", a, b)
	}
}
