package main

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
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

// A machine may be slow in one round: ratios must not mix rounds.
func TestRatesChapter(t *testing.T) {
	s := rates{events: 1000, loads: []load{{100, 100}, {1, 100}}}
	var rounds []ratesRound
	for _, r := range [][3]int{{10_000, 5_000, 9_000}, {20_000, 4_000, 16_000}, {2_000, 800, 1_800}} {
		rounds = append(rounds, ratesRound{
			bare: at(r[0], 60*time.Microsecond), sdk: at(r[1], 200*time.Microsecond),
			service: map[int]result{100: at(r[2], 70*time.Microsecond), 1: at(r[2]/2, 90*time.Microsecond)},
		})
	}
	c := s.chapter(rounds)
	want := [][]string{
		{"bare loop of signed PUTs", "10,000", "2,000–20,000", "1.00", "2.50", "60", "30", "0", "20"},
		{"loop of the SDK's PutObject", "4,000", "800–5,000", "0.40", "1.00", "200", "100", "0", "20"},
		{"auditdrain, 100 drains", "9,000", "1,800–16,000", "0.90", "2.25", "70", "35", "0", "20"},
		{"auditdrain, 1 drain", "4,500", "900–8,000", "0.45", "1.13", "90", "45", "0", "20"},
	}
	if diff := cmp.Diff(want, c.parts[0].table.rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	aims := []aim{
		{"100 drains, ratio to the bare loop", "≥ 0.85", "0.90", true},
		{"100 drains, ratio to the SDK's loop", "≥ 2.30", "2.25", false},
	}
	if diff := cmp.Diff(aims, c.aims, cmp.AllowUnexported(aim{})); diff != "" {
		t.Errorf("aims (-want +got):\n%s", diff)
	}
}

func TestDocument(t *testing.T) {
	path := filepath.Join(t.TempDir(), "remarks.md")
	if err := os.WriteFile(path, []byte("# Remarks\n\nHow to write them.\n\n## b\n\nThe disk is slow.\n\n- more\n\n## c\n\n\n## d\nIt is fine.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	remarks, err := readRemarks(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"b": "The disk is slow.\n\n- more", "d": "It is fine."}, remarks); diff != "" {
		t.Errorf("remarks (-want +got):\n%s", diff)
	}

	figures := table{header: []string{"", "events/s"}}
	figures.row("one", "1")
	figures.row("ö", "1,000")
	d := document{
		machine: machine{date: time.Date(2026, 5, 22, 0, 0, 0, 0, time.UTC), commit: "abc", cpu: "CPU", cores: 2, goVer: "go1", kernel: "Linux 6", fs: "ext4", warnings: []string{"In memory."}},
		rounds:  5, took: 90 * time.Second,
		chapters: []chapter{
			{letter: "a", title: "First", parts: []part{{[]string{"How."}, figures}}, aims: []aim{atMost("x", 3, 2.5, 1, " s")}},
			{letter: "b", title: "Second", aims: []aim{atLeast("y", 3000, 2000, 0, "")}, remarks: remarks["b"]},
			{letter: "c", title: "Third", aims: []aim{atLeast("z", 3, 2, 0, ""), atMost("nothing measured", 1, math.NaN(), 0, "")}},
		},
	}
	var b strings.Builder
	if err := d.write(&b); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		"Written by `make bench` on 2026-05-22, in 2 minutes: commit abc, CPU, 2 cores, go1, Linux 6, data on ext4.\n",
		"median of 5 rounds",
		"\nIn memory.\n",
		"" +
			"|                     |     aim | reached |        met? |\n" +
			"|---------------------|--------:|--------:|------------:|\n" +
			"| a) x                | ≤ 3.0 s |   2.5 s |         met |\n" +
			"| b) y                | ≥ 3,000 |   2,000 | **not met** |\n" +
			"| c) z                |     ≥ 3 |       2 | **not met** |\n" +
			"| c) nothing measured |     ≤ 1 |       – | **not met** |\n",
		"\n## a) First\n\nHow.\n\n" +
			"|     | events/s |\n" +
			"|-----|---------:|\n" +
			"| one |        1 |\n" +
			"| ö   |    1,000 |\n",
		"\n## b) Second\n\nThe disk is slow.\n\n- more\n",
		"\n## c) Third\n\nNot all aims are met, and nobody has said why yet",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "Not alone") {
		t.Error("others are told of, though there were none")
	}
	if diff := cmp.Diff([]string{"c"}, d.missing()); diff != "" {
		t.Errorf("missing remarks (-want +got):\n%s", diff)
	}
	d.others = 0.25
	b.Reset()
	if err := d.write(&b); err != nil || !strings.Contains(b.String(), "up to 25 % of the machine") {
		t.Errorf("others are not told of: %v\n%s", err, &b)
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{5, 1}, 3}, {[]float64{9, 1, 2}, 2}} {
		if got := median(tc.in); got != tc.want {
			t.Errorf("median(%v) = %v, want %v", tc.in, got, tc.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
}

func TestPercentile(t *testing.T) {
	var xs []time.Duration
	for i := range 200 {
		xs = append(xs, time.Duration(i+1))
	}
	for p, want := range map[float64]time.Duration{0: 1, 0.5: 100, 0.99: 198, 0.999: 200, 1: 200} {
		if got := percentile(xs, p); got != want {
			t.Errorf("percentile %v of 1 to 200 is %d, want %d", p, got, want)
		}
	}
	if got := percentile(nil, 0.5); got != 0 {
		t.Errorf("percentile of nothing is %d", got)
	}
}

func TestNumber(t *testing.T) {
	for want, got := range map[string]string{
		"0": whole(0), "999": whole(999), "1,000": whole(1000), "-1,234,567": whole(-1234567), "-123": whole(-123),
		"1,234.50": number(1234.5, 2), "0.12": number(0.1249, 2), "–": number(math.NaN(), 1), "25 %": percent(0.25),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
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
			e := maker.event(teamID(1))
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
			if fields.ID != e.ID || fields.Timestamp != e.Timestamp || fields.TeamID != teamID(1) || fields.Schema != "vercel.audit_log.v1" {
				t.Errorf("fields %+v of %s", fields, e.Body)
			}
			size += len(e.Body)
		}
	}
	if mean := size / len(seen); mean < 650 || mean > 750 {
		t.Errorf("%d bytes an event, want about 700", mean)
	}
	if a, b := newEventMaker(7).event(teamID(0)).ID, newEventMaker(7).event(teamID(0)).ID; a != b {
		t.Errorf("one seed gave %s and %s", a, b)
	}
}
