package storetest

import (
	"cmp"
	"fmt"
	"slices"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// saveCursor may be called by other goroutines than the test's.
func (f *fixture) saveCursor(drainID string, cursor uint64) {
	f.Helper()
	f.save(auditdrain.Progress{State: auditdrain.DeliveryState{DrainID: drainID, Cursor: cursor}})
}

func (f *fixture) save(progress ...auditdrain.Progress) {
	f.Helper()
	if gone, err := f.SaveProgress(f.ctx, progress); err != nil || len(gone) > 0 {
		f.Errorf("save progress: %v, gone %v", err, gone)
	}
}

func testDeliveryState(f *fixture) {
	f.createTeams("a")
	f.append(batch("a", events("1", "2", "3")...))
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, nil))
	f.must(f.CreateDrain(f.ctx, drain("d2", "a", 1), 1, nil))
	want := auditdrain.DeliveryState{DrainID: "d1"}
	check := func() {
		f.Helper()
		got, err := f.DeliveryState(f.ctx, "d1")
		f.must(err)
		if d := gocmp.Diff(want, got); d != "" {
			f.Errorf("delivery state (-want +got):\n%s", d)
		}
	}
	check()
	want.Cursor = 2
	want.Delivered, want.Failed, want.LastDeliveryAt, want.FirstErrorAt = 1<<60, 7, 8, 9
	want.LastError, want.NoConditionalPut = "it is said: “no”", "s3://bucket"
	want.Diagnosis = &auditdrain.Diagnosis{Summary: "no", Known: true, Causes: []auditdrain.Cause{{
		Code: "region", Text: "elsewhere", Change: &auditdrain.Change{Field: "delivery.region", Value: "us-west-2"},
	}}}
	want.LastErrorAt, want.LastErrorEvent, want.Sampled, want.Skipped = 10, "e", 11, 12
	want.NextAttemptAt, want.Window, want.SessionExpiresAt = 13, 14, 15
	want.Replay = &auditdrain.ReplayProgress{ID: "rpl_1", Cursor: 16, Written: 17, Existed: 18, FinishedAt: 19}
	f.save(auditdrain.Progress{State: want})
	check()
	back := want
	back.Cursor, back.Failed = 1, 8
	f.save(auditdrain.Progress{State: back}) // all but the cursor
	want.Failed = 8
	check()
	f.reopen() // nothing is lost when it is closed properly
	check()
	f.wantCursor("d2", 0)

	_, err := f.DeliveryState(f.ctx, "none")
	f.wantCode(err, auditdrain.CodeNotFound)
	f.must(f.DeleteDrain(f.ctx, "a", "d1", nil))
	_, err = f.DeliveryState(f.ctx, "d1")
	f.wantCode(err, auditdrain.CodeNotFound)
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 0, nil)) // the same ID again: nothing is left
	want = auditdrain.DeliveryState{DrainID: "d1", Cursor: 3}
	check()
}

func testCursor(f *fixture) {
	f.createTeams("a")
	f.append(batch("a", numbered("e", 10)...))
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, nil))
	f.must(f.CreateDrain(f.ctx, drain("d2", "a", 1), 1, nil))
	for _, c := range []struct{ save, want uint64 }{{4, 4}, {4, 4}, {2, 4}, {0, 4}, {10, 10}, {9, 10}} {
		f.saveCursor("d1", c.save)
		f.wantCursor("d1", c.want)
	}
	at := func(id string, cursor uint64) auditdrain.Progress {
		return auditdrain.Progress{State: auditdrain.DeliveryState{DrainID: id, Cursor: cursor}}
	}
	for what, progress := range map[string][]auditdrain.Progress{
		"a cursor beyond the last event": {at("d2", 5), at("d1", 11)},
		"a drain named twice":            {at("d2", 5), at("d1", 10), at("d2", 6)},
	} {
		if _, err := f.SaveProgress(f.ctx, progress); err == nil {
			f.Errorf("%s was saved", what)
		}
		f.wantCursor("d2", 0)
	}
	f.must(f.DeleteDrain(f.ctx, "a", "d1", nil))
	gone, err := f.SaveProgress(f.ctx, []auditdrain.Progress{at("d1", 10), at("d2", 7), at("none", 99)})
	f.must(err)
	if d := gocmp.Diff([]string{"d1", "none"}, gone); d != "" {
		f.Errorf("gone (-want +got):\n%s", d)
	}
	f.reopen()
	f.wantCursor("d2", 7)
	gone, err = f.SaveProgress(f.ctx, nil)
	f.must(err)
	if len(gone) != 0 {
		f.Errorf("nothing saved, gone %v", gone)
	}
}

func failure(number uint64) auditdrain.Attempt {
	return auditdrain.Attempt{
		Number: number, At: int64(1000 + number), EventID: fmt.Sprint("e", number), Outcome: auditdrain.OutcomeFailed, Duration: 5,
		Class: "blocked", Operation: "PutObject", Status: 403, Code: "AccessDenied", RequestID: "R", Error: "“no”",
	}
}

func sample(number uint64) auditdrain.Attempt {
	outcome := auditdrain.OutcomeWritten
	if number%3 == 0 {
		outcome = auditdrain.OutcomeExisted
	}
	return auditdrain.Attempt{Number: number, At: int64(1000 + 60*number), EventID: fmt.Sprint("s", number), Outcome: outcome, Replay: number%2 == 0}
}

func testAttempts(f *fixture) {
	f.createTeams("a")
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, nil))
	f.must(f.CreateDrain(f.ctx, drain("d", "a", 1), 1, nil)) // names that a careless key encoding would mix up
	want := func(drainID string, want ...auditdrain.Attempt) {
		f.Helper()
		got, err := f.Attempts(f.ctx, drainID)
		f.must(err)
		slices.SortStableFunc(want, func(a, b auditdrain.Attempt) int { return cmp.Compare(b.At, a.At) })
		if d := gocmp.Diff(want, got); d != "" {
			f.Errorf("attempts of %s (-want +got):\n%s", drainID, d)
		}
	}
	save := func(drainID string, attempts ...auditdrain.Attempt) {
		f.Helper()
		f.save(auditdrain.Progress{State: auditdrain.DeliveryState{DrainID: drainID}, Attempts: attempts})
	}
	want("d1")
	save("d1", failure(1), sample(1), failure(2))
	save("d", sample(2))
	f.reopen()
	want("d1", failure(2), sample(1), failure(1))
	want("d", sample(2))

	// The rings go round: in one call, and in many.
	const n = auditdrain.MaxFailures + 10
	var many, kept []auditdrain.Attempt
	for i := uint64(3); i <= n; i++ {
		many = append(many, failure(i))
	}
	save("d1", many...)
	for i := uint64(2); i <= auditdrain.MaxSamples+7; i++ {
		save("d1", sample(i))
	}
	for i := uint64(11); i <= n; i++ {
		kept = append(kept, failure(i))
	}
	for i := uint64(8); i <= auditdrain.MaxSamples+7; i++ {
		kept = append(kept, sample(i))
	}
	for range 2 {
		want("d1", kept...)
		want("d", sample(2))
		f.reopen()
	}

	_, err := f.Attempts(f.ctx, "none")
	f.wantCode(err, auditdrain.CodeNotFound)
	f.must(f.DeleteDrain(f.ctx, "a", "d", nil))
	want("d1", kept...)
	f.must(f.DeleteDrain(f.ctx, "a", "d1", nil))
	_, err = f.Attempts(f.ctx, "d1")
	f.wantCode(err, auditdrain.CodeNotFound)
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, nil)) // the same ID again: nothing is left
	want("d1")
}
