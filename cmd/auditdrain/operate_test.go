package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func TestDrainShow(t *testing.T) {
	f := newFakeService()
	url := f.start(t)
	cli(t, url, "", createArgs()...)
	d := &f.drains[0]
	d.Status = auditdrain.StatusErrored
	d.LastError = "InvalidRequest"
	// Half an hour away from where the words change.
	ago := func(d time.Duration) int64 { return time.Now().Add(-d - 30*time.Minute).UnixMilli() }
	d.FirstErrorTimestamp = ago(3 * time.Hour)
	d.Metadata = &auditdrain.DrainMetadata{
		BacklogEvents: 1234, BacklogBytes: 987654, OldestUndeliveredAt: ago(80 * time.Hour),
		Delivered: 1, Failed: 5, Skipped: 2, LastDeliveryAt: ago(4 * time.Hour),
		LastErrorAt: ago(2 * time.Hour), LastErrorEvent: "uev_7", LastErrorRequestID: "REQ1",
		NextAttemptAt: ago(-6 * time.Hour), Window: 16, SessionExpiresAt: ago(-9 * time.Hour),
	}
	r := cli(t, url, "", "drain", "show", "drn_1")
	for _, want := range []string{
		"Status: errored",
		"Failing since: " + when(d.FirstErrorTimestamp) + " (3 hours ago)",
		"Last failure: " + when(d.Metadata.LastErrorAt) + " (2 hours ago)",
		"Event refused: uev_7",
		"AWS request ID: REQ1",
		"Next try: " + when(d.Metadata.NextAttemptAt) + " (in 5 hours)",
		"Last error: InvalidRequest",
		"Backlog: 1234 events, 988 kB",
		"Oldest undelivered: " + when(d.Metadata.OldestUndeliveredAt) + " (3 days ago)",
		"Delivered: 1 event",
		"Failed attempts: 5",
		"Given up: 2 events",
		"Last delivery: " + when(d.Metadata.LastDeliveryAt) + " (4 hours ago)",
		"Window: 16 writes at once",
		"AWS session until: " + when(d.Metadata.SessionExpiresAt) + " (in 8 hours)",
	} {
		if !strings.Contains(singleSpaced(r.stdout), want+"\n") {
			t.Errorf("no %q in\n%s%s", want, r.stdout, r.stderr)
		}
	}
}

// singleSpaced takes the columns out of a table.
func singleSpaced(s string) string {
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return s
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 seconds", time.Second: "1 second", 119 * time.Second: "119 seconds", 2 * time.Minute: "2 minutes",
		119 * time.Minute: "119 minutes", 47 * time.Hour: "47 hours", 49 * time.Hour: "2 days", 1000 * time.Hour: "41 days",
	} {
		if got := inWords(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	for n, want := range map[uint64]string{
		0: "0 bytes", 1: "1 byte", 999: "999 bytes", 1000: "1.0 kB", 9949: "9.9 kB", 9950: "10 kB", 999_499: "999 kB", 999_500: "1.0 MB",
		1_234_000_000: "1.2 GB", 1 << 63: "9223 PB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestDrainResumeFromNow(t *testing.T) {
	f := newFakeService()
	url := f.start(t)
	cli(t, url, "", createArgs()...)

	f.givenUp = &auditdrain.Skip{From: 5, To: 16, Reason: "resumed from now"}
	r := cli(t, url, "", "drain", "resume", "drn_1", "--from", "now")
	if r.code != 0 || !strings.HasSuffix(r.stdout, "\n12 events given up: see auditdrain drain skips drn_1\n") {
		t.Errorf("%+v", r)
	}
	f.givenUp = nil
	r = cli(t, url, "", "drain", "resume", "drn_1", "--from", "now")
	if r.code != 0 || !strings.HasSuffix(r.stdout, "\n0 events given up: none were waiting\n") {
		t.Errorf("without a backlog: %+v", r)
	}
	if r := cli(t, url, "", "drain", "resume", "drn_1"); r.code != 0 || strings.Contains(r.stdout, "given up") {
		t.Errorf("from where it stopped: %+v", r)
	}
	if r := cli(t, url, "", "drain", "resume", "drn_1", "--from", "yesterday"); r.code != 2 || !strings.Contains(r.stderr, "use one of now") {
		t.Errorf("from another time: %+v", r)
	}
	now, enabled := "now", auditdrain.StatusEnabled
	want := []auditdrain.DrainPatch{{Status: &enabled, ResumeFrom: &now}, {Status: &enabled, ResumeFrom: &now}, {Status: &enabled}}
	if diff := cmp.Diff(want, f.patched); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
}

func TestDrainSkip(t *testing.T) {
	f := newFakeService()
	url := f.start(t)
	cli(t, url, "", createArgs()...)
	f.skips = []auditdrain.Skip{{From: 2, To: 31, Reason: "resumed from now", By: "tok_1", At: 1779440000000}}
	for _, flag := range []string{"event", "reason"} {
		if r := cli(t, url, "", "drain", "skip", "drn_1", "--"+flag, "x"); r.code != 2 || len(f.skips) != 1 {
			t.Errorf("with --%s only: %+v", flag, r)
		}
	}
	r := cli(t, url, "", "drain", "skip", "drn_1", "--event", "uev_7", "--reason", "S3 refuses it")
	want := "WHEN                  BY            EVENTS  EVENT  REASON\n" +
		"2026-05-22T10:00:00Z  tok_operator  1       uev_7  S3 refuses it\n"
	if diff := cmp.Diff(want, r.stdout); r.code != 0 || diff != "" {
		t.Errorf("%s%s", r.stderr, diff)
	}
	r = cli(t, url, "", "drain", "skips", "drn_1")
	want = "WHEN                  BY            EVENTS  EVENT  REASON\n" +
		"2026-05-22T08:53:20Z  tok_1         30      -      resumed from now\n" +
		"2026-05-22T10:00:00Z  tok_operator  1       uev_7  S3 refuses it\n"
	if diff := cmp.Diff(want, r.stdout); r.code != 0 || diff != "" {
		t.Errorf("%s%s", r.stderr, diff)
	}
}

func TestDrainAttempts(t *testing.T) {
	f := newFakeService()
	url := f.start(t)
	cli(t, url, "", createArgs()...)
	f.tried = []auditdrain.Attempt{
		{Number: 2, At: 1779444000123, EventID: "uev_2", Outcome: auditdrain.OutcomeFailed, Duration: 31, Class: "blocked", Operation: "PutObject",
			Status: 403, Code: "AccessDenied", RequestID: "REQ1", Error: "no \x1b[31m" + strings.Repeat("x", 100)},
		{Number: 1, At: 1779444000000, EventID: "uev_1", Outcome: auditdrain.OutcomeExisted, Duration: 1200, Replay: true, Operation: "PutObject"},
	}
	r := cli(t, url, "", "drain", "attempts", "drn_1", "--failed", "--limit", "7")
	want := "WHEN                      EVENT  OUTCOME           TOOK  CLASS    OPERATION  STATUS  CODE          REQUEST ID  ERROR\n" +
		"2026-05-22T10:00:00.123Z  uev_2  failed            31ms  blocked  PutObject  403     AccessDenied  REQ1        no \uFFFD[31m" + strings.Repeat("x", 71) + "…\n" +
		"2026-05-22T10:00:00.000Z  uev_1  existed (replay)  1.2s  -        PutObject  -       -             -           -\n"
	if diff := cmp.Diff(want, r.stdout); r.code != 0 || diff != "" {
		t.Errorf("%s%s", r.stderr, diff)
	}
	r = cli(t, url, "", "drain", "attempts", "drn_1", "-o", "json")
	var got auditdrain.AttemptList
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(auditdrain.AttemptList{Attempts: f.tried}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"GET /v1/drains/drn_1/attempts?limit=7&outcome=failed", "GET /v1/drains/drn_1/attempts?limit=50"}, f.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	for _, n := range []string{"0", "1201"} {
		if r := cli(t, url, "", "drain", "attempts", "drn_1", "--limit", n); r.code != 2 || !strings.Contains(r.stderr, "use 1 to 1200") {
			t.Errorf("--limit %s: %+v", n, r)
		}
	}
}

func TestDrainReplay(t *testing.T) {
	f := newFakeService()
	url := f.start(t)
	cli(t, url, "", createArgs()...)
	order := auditdrain.ReplayOrder{ID: "rpl_1", From: 1779440000000, To: 1779444000000, FirstSeq: 3, LastSeq: 10, CreatedAt: time.Now().Add(-3 * time.Minute).UnixMilli(), By: "tok_1"}
	running := order.Shown(auditdrain.ReplayProgress{ID: "rpl_1", Cursor: 4, Written: 1, Existed: 1})
	finished := order.Shown(auditdrain.ReplayProgress{ID: "rpl_1", Cursor: 10, Written: 3, Existed: 5, FinishedAt: time.Now().Add(-2 * time.Minute).UnixMilli()})
	running.DrainStatus = auditdrain.StatusDisabled
	show := func(status, done, written, existed, finished string) string {
		return "Replay: rpl_1\nStatus: " + status + "\nFrom: 2026-05-22T08:53:20Z\nTo: 2026-05-22T10:00:00Z\n" +
			"Events: 8\nDone: " + done + "\nWritten: " + written + "\nWere there: " + existed + "\n" +
			"Asked for: " + when(order.CreatedAt) + " (3 minutes ago)\nBy: tok_1\n" + finished
	}
	unfinished := show("running, waits until the drain is resumed", "2", "1", "1", "")
	ended := show("finished", "8", "3", "5", "Finished: "+when(finished.FinishedAt)+" (2 minutes ago)\n")
	bars := "[######                  ]  25%  2 of 8 events, 1 written, 1 were there; waits until the drain is resumed\n"
	for _, tt := range []struct {
		args    []string
		replays []auditdrain.Replay
		asked   []string
		code    int
		stdout  string
		stderr  string
	}{
		{[]string{"--from", "2026-05-22T08:53:20Z"}, []auditdrain.Replay{running}, []string{`POST {"from":1779440000000}`}, 0, unfinished, ""},
		{[]string{"--from", "1779440000000", "--to", "2026-05-22T10:00:00Z"}, []auditdrain.Replay{running}, []string{`POST {"from":1779440000000,"to":1779444000000}`}, 0, unfinished, ""},
		{nil, []auditdrain.Replay{finished}, []string{"GET"}, 0, ended, ""},
		{[]string{"--cancel"}, []auditdrain.Replay{running}, []string{"DELETE"}, 0, unfinished, ""},
		{[]string{"--from", "2026-05-22T08:53:20Z", "--wait"}, []auditdrain.Replay{running, running, finished}, []string{`POST {"from":1779440000000}`, "GET", "GET"}, 0, ended, bars},
		{[]string{"--wait"}, []auditdrain.Replay{finished}, []string{"GET"}, 0, ended, ""},
		{[]string{"--to", "2026-05-22"}, nil, nil, 2, "", "auditdrain: --to needs --from\n"},
		{[]string{"--cancel", "--wait"}, nil, nil, 2, "", "auditdrain: --cancel goes without --from, --to and --wait\n"},
		{[]string{"--cancel", "--from", "24h"}, nil, nil, 2, "", "auditdrain: --cancel goes without --from, --to and --wait\n"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			f.asked, f.replays = nil, tt.replays
			r := cli(t, url, "", append([]string{"drain", "replay", "drn_1"}, tt.args...)...)
			if r.code != tt.code {
				t.Errorf("code %d, want %d", r.code, tt.code)
			}
			if diff := cmp.Diff(tt.stdout, singleSpaced(r.stdout)); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.stderr, r.stderr); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.asked, f.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAwaitReplay(t *testing.T) {
	order := auditdrain.ReplayOrder{ID: "rpl_1", FirstSeq: 1, LastSeq: 4}
	at := func(cursor uint64, drain auditdrain.DrainStatus) auditdrain.Replay {
		r := order.Shown(auditdrain.ReplayProgress{ID: "rpl_1", Cursor: cursor, Existed: cursor})
		r.DrainStatus = drain
		return r
	}
	cancelled, other := at(2, auditdrain.StatusEnabled), at(0, auditdrain.StatusEnabled)
	cancelled.Status, other.ID = auditdrain.ReplayCancelled, "rpl_2"
	const zero = "[                        ]   0%  0 of 4 events, 0 written, 0 were there"
	for name, tt := range map[string]struct {
		answers []auditdrain.Replay // then an error
		out     string
		err     string
	}{
		"cancelled":  {[]auditdrain.Replay{at(1, auditdrain.StatusEnabled), cancelled}, zero + "\n", "replay rpl_1 was cancelled"},
		"another":    {[]auditdrain.Replay{other}, zero + "\n", "replay rpl_1 is over, and another one has begun: rpl_2"},
		"no service": {nil, zero + "\n", "replay rpl_1 goes on, as far as is known: gone"},
		"trouble": {
			[]auditdrain.Replay{at(1, auditdrain.StatusEnabled), at(2, auditdrain.StatusErrored), at(2, auditdrain.StatusErrored), at(3, auditdrain.StatusEnabled), cancelled},
			zero + "\n" +
				"[############            ]  50%  2 of 4 events, 0 written, 2 were there; waits until the drain has recovered\n" +
				"[##################      ]  75%  3 of 4 events, 0 written, 3 were there\n",
			"replay rpl_1 was cancelled",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				_, err := awaitReplay(t.Context(), &out, at(0, auditdrain.StatusEnabled), func() (auditdrain.Replay, error) {
					if len(tt.answers) == 0 {
						return auditdrain.Replay{}, errors.New("gone")
					}
					next := tt.answers[0]
					tt.answers = tt.answers[1:]
					return next, nil
				})
				if fmt.Sprint(err) != tt.err {
					t.Errorf("error %v, want %s", err, tt.err)
				}
				if diff := cmp.Diff(tt.out, out.String()); diff != "" {
					t.Errorf("out (-want +got):\n%s", diff)
				}
			})
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var out strings.Builder
			_, err := awaitReplay(ctx, &out, at(0, auditdrain.StatusEnabled), func() (auditdrain.Replay, error) {
				cancel()
				return at(1, auditdrain.StatusEnabled), nil
			})
			if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "goes on") {
				t.Errorf("error %v", err)
			}
		})
	})
}

func TestPrintIntegrity(t *testing.T) {
	ago := time.Now().Add(-90*time.Minute - time.Second).UnixMilli()
	var b strings.Builder
	printIntegrity(&b, auditdrain.Integrity{
		State: auditdrain.IntegrityOn, Manifests: 7, Head: "ab12", CoveredUntil: ago, WrittenAt: ago, Waiting: 1,
		LastError: "S3 did not let us.", LastErrorAt: ago, Anchored: 5, KeyID: "key_1",
		Folder: "s3://acme/manifest/drn_1/", Verify: "auditdrain verify s3://acme",
	})
	at := when(ago) + " (90 minutes ago)\n"
	want := "Integrity:\ton\nManifests:\t7 written\nLast manifest:\t" + at + "Covered until:\t" + at + "Head:\tab12\nSigning key:\tkey_1\n" +
		"Anchored:\tup to manifest 5\nWaiting:\t1 manifest\nLast failure:\t" + at + "Last error:\tS3 did not let us.\nFolder:\ts3://acme/manifest/drn_1/\n" +
		"\nTo verify: auditdrain verify s3://acme\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	b.Reset()
	if printIntegrity(&b, auditdrain.Integrity{State: auditdrain.IntegrityOff}); b.String() != "Integrity:\toff\n" {
		t.Errorf("of a drain that never had it: %q", b.String())
	}
}
