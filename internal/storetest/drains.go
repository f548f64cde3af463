package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func drain(id, team string, created int64) auditdrain.Drain {
	d := auditdrain.NewDrain(team, "name of "+id, auditdrain.Delivery{
		Type: "s3", Endpoint: "s3://bucket/" + id, Encoding: "ndjson", Compression: "none", FileStructure: "hive",
		RoleARN: "arn:aws:iam::123456789012:role/x", Region: "us-east-1",
	}, time.UnixMilli(created))
	d.ID = id
	return d
}

func (f *fixture) wantDrains(q auditdrain.DrainQuery, want ...auditdrain.Drain) {
	f.Helper()
	got, err := f.Drains(f.ctx, q)
	f.must(err)
	if d := cmp.Diff(want, got); d != "" {
		f.Errorf("drains for %+v (-want +got):\n%s", q, d)
	}
}

func (f *fixture) wantCursor(id string, want uint64) {
	f.Helper()
	s, err := f.DeliveryState(f.ctx, id)
	f.must(err)
	if s.Cursor != want {
		f.Errorf("cursor of %s is %d, want %d", id, s.Cursor, want)
	}
}

func testDrains(f *fixture) {
	f.createTeams("a", "a0", "b")
	d1, d2, d3, d4 := drain("d4", "a", 1), drain("d1", "a", 2), drain("d3", "a0", 2), drain("d2", "b", 9)
	for _, d := range []auditdrain.Drain{d4, d2, d1, d3} {
		f.must(f.CreateDrain(f.ctx, d, 0, nil))
	}
	f.wantCode(f.CreateDrain(f.ctx, d1, 0, nil), auditdrain.CodeConflict)
	f.wantCode(f.CreateDrain(f.ctx, drain("d4", "b", 1), 0, nil), auditdrain.CodeConflict)
	f.wantCode(f.CreateDrain(f.ctx, drain("d9", "nobody", 1), 0, nil), auditdrain.CodeNotFound)
	for range 2 {
		f.wantDrains(auditdrain.DrainQuery{}, d1, d2, d3, d4)
		f.wantDrains(auditdrain.DrainQuery{TeamID: "a"}, d1, d2)
		f.wantDrains(auditdrain.DrainQuery{TeamID: "a0"}, d3)
		f.wantDrains(auditdrain.DrainQuery{TeamID: "nobody"})
		f.wantDrains(auditdrain.DrainQuery{ID: "d2"}, d4)
		f.wantDrains(auditdrain.DrainQuery{TeamID: "b", ID: "d2"}, d4)
		f.wantDrains(auditdrain.DrainQuery{TeamID: "a", ID: "d2"})
		f.wantDrains(auditdrain.DrainQuery{ID: "none"})
		f.reopen()
	}
	f.wantCode(f.DeleteDrain(f.ctx, "a", "d2", nil), auditdrain.CodeNotFound)
	f.wantCode(f.DeleteDrain(f.ctx, "", "none", nil), auditdrain.CodeNotFound)
	f.must(f.DeleteDrain(f.ctx, "a", "d1", nil))
	f.must(f.DeleteDrain(f.ctx, "", "d2", nil))
	f.wantCode(f.DeleteDrain(f.ctx, "", "d2", nil), auditdrain.CodeNotFound)
	f.reopen()
	f.wantDrains(auditdrain.DrainQuery{}, d1, d3)
	_, err := f.DeliveryState(f.ctx, "d1")
	f.wantCode(err, auditdrain.CodeNotFound)
}

func testDrainLimit(f *fixture) {
	f.createTeams("a", "b")
	var mu sync.Mutex
	var created []string
	var wg sync.WaitGroup
	for i := range auditdrain.MaxDrainsPerTeam + 5 {
		wg.Go(func() {
			id := fmt.Sprint("d", i)
			err := f.CreateDrain(f.ctx, drain(id, "a", 1), 0, nil)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				created = append(created, id)
			} else {
				f.wantCode(err, auditdrain.CodeConflict)
			}
		})
	}
	wg.Wait()
	if len(created) != auditdrain.MaxDrainsPerTeam {
		f.Fatalf("%d drains created, want %d", len(created), auditdrain.MaxDrainsPerTeam)
	}
	f.must(f.CreateDrain(f.ctx, drain("b0", "b", 1), 0, nil))
	f.reopen()
	f.wantCode(f.CreateDrain(f.ctx, drain("more", "a", 1), 0, nil), auditdrain.CodeConflict)
	f.must(f.DeleteDrain(f.ctx, "a", created[0], nil))
	f.must(f.CreateDrain(f.ctx, drain("more", "a", 1), 0, nil))
}

func testUpdateDrain(f *fixture) {
	f.createTeams("a")
	d := drain("d1", "a", 1)
	f.must(f.CreateDrain(f.ctx, d, 0, nil))
	rename := func(name string) func(*auditdrain.Drain) error {
		return func(d *auditdrain.Drain) error { d.Name = name; return nil }
	}
	got, err := f.UpdateDrain(f.ctx, "a", "d1", rename("new"), nil)
	f.must(err)
	d.Name = "new"
	if diff := cmp.Diff(d, got); diff != "" {
		f.Errorf("updated drain (-want +got):\n%s", diff)
	}
	f.wantDrains(auditdrain.DrainQuery{}, d)

	refusal := errors.New("no")
	if _, err := f.UpdateDrain(f.ctx, "a", "d1", func(d *auditdrain.Drain) error { d.Name = "x"; return refusal }, nil); err != refusal {
		f.Errorf("got error %v, want the one of the update", err)
	}
	_, err = f.UpdateDrain(f.ctx, "b", "d1", rename("x"), nil)
	f.wantCode(err, auditdrain.CodeNotFound)
	_, err = f.UpdateDrain(f.ctx, "a", "d2", rename("x"), nil)
	f.wantCode(err, auditdrain.CodeNotFound)
	for _, change := range []func(*auditdrain.Drain){
		func(d *auditdrain.Drain) { d.ID = "d2" },
		func(d *auditdrain.Drain) { d.TeamID = "b" },
	} {
		if _, err := f.UpdateDrain(f.ctx, "a", "d1", func(d *auditdrain.Drain) error { change(d); return nil }, nil); err == nil {
			f.Error("a drain's identity was changed")
		}
	}
	f.reopen()
	f.wantDrains(auditdrain.DrainQuery{}, d)

	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := f.UpdateDrain(f.ctx, "", "d1", func(d *auditdrain.Drain) error { d.UpdatedAt++; return nil }, nil)
			if err != nil {
				f.Error(err)
			}
		})
	}
	wg.Wait()
	d.UpdatedAt += 20
	f.wantDrains(auditdrain.DrainQuery{}, d)
}

func testStartFrom(f *fixture) {
	f.createTeams("a", "b", "c")
	start := f.time
	for i := range 20 { // 3 events each minute: 1–3, 4–6, …
		f.time = start.Add(time.Duration(i) * time.Minute)
		f.append(batch("a", numbered(fmt.Sprintf("%d-", i), 3)...))
	}
	f.append(batch("b", events("1", "2")...))
	at := func(d time.Duration) int64 { return start.Add(d).UnixMilli() }
	for i, c := range []struct {
		from   int64
		cursor uint64
	}{
		{0, 60},
		{1, 0},
		{at(-time.Hour), 0},
		{at(0), 0},
		{at(1 * time.Millisecond), 3},
		{at(1 * time.Minute), 3},
		{at(90 * time.Second), 6},
		{at(19 * time.Minute), 57},
		{at(19*time.Minute + time.Millisecond), 60},
		{at(24 * time.Hour), 60},
	} {
		id := fmt.Sprint("d", i)
		f.must(f.CreateDrain(f.ctx, drain(id, "a", 1), c.from, nil))
		f.wantCursor(id, c.cursor)
		f.must(f.DeleteDrain(f.ctx, "a", id, nil))
	}
	f.must(f.CreateDrain(f.ctx, drain("b0", "b", 1), 0, nil))
	f.wantCursor("b0", 2)
	for i, from := range []int64{0, 1, at(0), at(time.Hour)} {
		id := fmt.Sprint("c", i)
		f.must(f.CreateDrain(f.ctx, drain(id, "c", 1), from, nil))
		f.wantCursor(id, 0)
	}

	// When events have been removed, a drain begins with what is left.
	f.must(f.CreateDrain(f.ctx, drain("holds", "a", 1), at(5*time.Minute), nil))
	f.retain(0, 15+2)
	f.must(f.DeleteDrain(f.ctx, "a", "holds", nil))
	for i, c := range []struct {
		from   int64
		cursor uint64
	}{{1, 15}, {at(4 * time.Minute), 15}, {at(6 * time.Minute), 18}} {
		id := fmt.Sprint("t", i)
		f.must(f.CreateDrain(f.ctx, drain(id, "a", 1), c.from, nil))
		f.reopen()
		f.wantCursor(id, c.cursor)
		f.must(f.DeleteDrain(f.ctx, "a", id, nil))
	}
	f.retain(0, 45)
	f.must(f.CreateDrain(f.ctx, drain("last", "a", 1), 1, nil))
	f.wantCursor("last", 60)
}
