package browser

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
)

// showcase is a service with something on every page, as after a week.
type showcase struct {
	svc         *service
	acme, empty team
	works       auditdrain.Drain
	troubled    auditdrain.Drain // another external ID is demanded
	paused      auditdrain.Drain // with a backlog
}

// How long ago things happened to it.
const (
	week    = 7 * 24 * time.Hour
	pause   = 3 * time.Hour
	trouble = 41 * time.Minute // of both drains that are in trouble
)

// events come every half minute to Acme since its drain is paused.
const events = int(pause / (30 * time.Second))

func newShowcase(s *service) showcase {
	w := showcase{svc: s, acme: s.newTeam("Acme"), empty: s.newTeam("Umbrella")}
	w.works = w.acme.drain("Archive", delivery("acme-audit-archive"))
	w.troubled = w.acme.drain("Security lake", delivery("acme-security-lake"))
	w.paused = w.acme.drain("Compliance copy for the auditors, kept for ten years", delivery("acme-compliance"))
	_, err := s.operator.UpdateDrain(s.t.Context(), w.acme.id, w.paused.ID, auditdrain.DrainPatch{Status: new(auditdrain.StatusDisabled)})
	must(s.t, err)
	broken := &setUp{cloud: s.aws, role: w.troubled.Delivery.RoleARN, team: w.acme.id}
	broken.trust(trusts(writerARN, w.acme.id))
	drains := []auditdrain.Drain{w.works, w.troubled, w.paused}
	for _, name := range []string{"Globex", "Initech", "Hooli", "Stark Industries"} {
		tm := s.newTeam(name)
		drains = append(drains, tm.drain("Audit logs", delivery(tm.id[len("team_"):]+"-audit-logs")))
	}
	s.aws.UpdateBucket("initech-audit-logs", func(b *awssim.Bucket) { b.Region = "us-west-2" })
	w.acme.token(auditdrain.RoleProducer)
	s.stop()
	w.remember(drains)
	s.start()
	eventually(s.t, "two drains are in trouble, and it is known why", func() bool {
		found, err := s.operator.FindDrains(s.t.Context(), auditdrain.DrainSearch{Status: auditdrain.StatusErrored, Limit: 50})
		must(s.t, err)
		return len(found.Drains) == 2 && found.Drains[0].Diagnosis != nil && found.Drains[1].Diagnosis != nil
	})
	return w
}

// remember gives each drain a week to look back at. The service must not run.
func (w showcase) remember(drains []auditdrain.Drain) {
	t := w.svc.t
	t.Helper()
	now := time.Now()
	clock := now
	store, err := pebblestore.Open(w.svc.data, pebblestore.Options{Now: func() time.Time { return clock }})
	must(t, err)
	for i := range events {
		clock = now.Add(-pause * time.Duration(events-i) / time.Duration(events))
		for _, team := range []string{w.acme.id, "team_initech"} {
			e := auditdrain.Event{ID: fmt.Sprintf("uev_%06d", i), Timestamp: clock.UnixMilli()}
			e.Body = fmt.Appendf(nil, `{"id":%q,"action":"member.invited","timestamp":%d,"actor":{"id":"usr_1","type":"user","name":"Ada Lovelace"}}`, e.ID, e.Timestamp)
			_, err := store.Append(t.Context(), []auditdrain.Batch{{TeamID: team, Events: []auditdrain.Event{e}}})
			must(t, err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	sum := map[string]auditdrain.Tally{}
	for at, step := now.Add(-week), 10; at.Before(now); at = at.Add(time.Duration(step) * time.Minute) {
		if now.Sub(at) <= 24*time.Hour {
			step = 1 // what is older is shown by the hour
		}
		var tallies []auditdrain.Tally
		for i, d := range drains {
			tally := auditdrain.Tally{DrainID: d.ID}
			for range step {
				tally.Add(w.minute(rng, d, i, now.Sub(at)))
			}
			tallies = append(tallies, tally)
			total := sum[d.ID]
			total.Delivered += tally.Delivered
			total.Failed += tally.Failed
			sum[d.ID] = total
		}
		must(t, store.AddTallies(t.Context(), at, tallies))
	}
	var progress []auditdrain.Progress
	for _, d := range drains {
		_, err := store.UpdateDrain(t.Context(), d.TeamID, d.ID, func(d *auditdrain.Drain) error {
			d.CreatedAt = now.Add(-week).UnixMilli()
			d.UpdatedAt = d.CreatedAt
			if d.DisabledAt != 0 {
				d.DisabledAt = now.Add(-pause).UnixMilli()
			}
			return nil
		}, nil)
		must(t, err)
		since := w.stuck(d)
		state := auditdrain.DeliveryState{
			DrainID: d.ID, Delivered: sum[d.ID].Delivered, Failed: sum[d.ID].Failed, LastDeliveryAt: now.Add(-since - time.Second).UnixMilli(),
		}
		if d.TeamID == w.acme.id || since == trouble {
			state.Cursor = uint64(float64(events) * (1 - float64(since)/float64(pause)))
		}
		if since == trouble {
			state.FirstErrorAt = now.Add(-trouble).UnixMilli()
		}
		progress = append(progress, auditdrain.Progress{State: state})
	}
	_, err = store.SaveProgress(t.Context(), progress)
	must(t, err)
	w.account(store, now, w.works, pauseHours)
	w.account(store, now, w.troubled, pauseHours-1)
	must(t, store.Close())
}

// pauseHours are how many manifests drains with integrity have.
const pauseHours = int(pause / time.Hour)

// account has a drain's chain begin some hours ago, of which so many have been
// written.
func (w showcase) account(store *pebblestore.Store, now time.Time, d auditdrain.Drain, written int) {
	t := w.svc.t
	t.Helper()
	d, err := store.UpdateDrain(t.Context(), d.TeamID, d.ID, func(d *auditdrain.Drain) error {
		d.Delivery.Integrity = true
		return nil
	}, nil)
	must(t, err)
	keys, err := store.SigningKeys(t.Context())
	must(t, err)
	at := now.Truncate(time.Hour).Add(-pause)
	seal := func(req auditdrain.SealRequest) {
		t.Helper()
		req.At, req.KeyID = at.UnixMilli(), keys[0].ID
		_, err := store.Seal(t.Context(), d.ID, req)
		must(t, err)
	}
	seal(auditdrain.SealRequest{As: &auditdrain.DeliversAs{Rendering: auditdrain.Rendering{Delivery: d.Delivery}}})
	for range pauseHours {
		at = at.Add(time.Hour)
		seal(auditdrain.SealRequest{Cause: auditdrain.SealHour})
	}
	for i := range written {
		head := fmt.Sprintf("%x", sha256.Sum256([]byte{byte(i)}))
		wrote := at.Add(time.Duration(i-pauseHours+1)*time.Hour + 90*time.Second)
		must(t, store.SealWritten(t.Context(), d.ID, uint64(i+1), head, wrote.UnixMilli()))
	}
	if written < pauseHours {
		must(t, store.SealFailed(t.Context(), d.ID, "STS did not let us use the role "+d.Delivery.RoleARN+".", now.Add(-time.Minute).UnixMilli()))
	}
}

// stuck is since when nothing of a drain is delivered, 0 if all is.
func (w showcase) stuck(d auditdrain.Drain) time.Duration {
	switch {
	case d.ID == w.paused.ID:
		return pause
	case d.ID == w.troubled.ID, d.TeamID == "team_initech":
		return trouble
	}
	return 0
}

// minute is what the ith drain did in a minute, so long ago: more by day than
// by night, and slower where there is more.
func (w showcase) minute(rng *rand.Rand, d auditdrain.Drain, i int, ago time.Duration) auditdrain.Tally {
	tally := auditdrain.Tally{DrainID: d.ID}
	if since := w.stuck(d); ago < since {
		tally.Backlog = uint64((since - ago) * time.Duration(events) / pause)
		if since == trouble {
			tally.Failed = 1
		}
		return tally
	}
	day := 1 + math.Sin(2*math.Pi*(float64(i)/20-ago.Hours()/24))
	busy := (4 + 6*day) / float64(i+1)
	tally.Latency = &auditdrain.LatencyHistogram{}
	for range int(busy + rng.Float64()*busy) {
		tally.Delivered++
		tally.Latency.Add(time.Duration(60+rng.ExpFloat64()*90*(1+day/4)) * time.Millisecond)
	}
	if rng.IntN(400) == 0 {
		tally.Failed = 1 + rng.Uint64N(5)
	}
	return tally
}

// shownPage is a page of the showcase, by the name of its picture.
type shownPage struct {
	name string
	path string
	then func(b *browser) // leads further
	part string           // ID of what is on the picture, if it is far down
}

// teamPages are those that everybody of Acme sees.
func (w showcase) teamPages() []shownPage {
	return []shownPage{
		{name: "drains", path: "/drains"},
		{name: "drain", path: "/drains/" + w.works.ID + "?span=24h"},
		{name: "drain-integrity", path: "/drains/" + w.works.ID, part: "account"},
		{name: "drain-in-trouble", path: "/drains/" + w.troubled.ID},
		{name: "drain-paused", path: "/drains/" + w.paused.ID + "?span=7d"},
		{name: "setup-kit", path: "/drains/" + w.works.ID + "/queries"},
		{name: "activity", path: "/activity"},
		{name: "settings", path: "/settings"},
		{path: "/drains?status=errored"},
		{path: "/drains?q=nothing"},
	}
}

// ownerPages are those on which something is changed.
func (w showcase) ownerPages() []shownPage {
	form := func(b *browser, bucket string) {
		d := delivery(bucket)
		b.fill("Name", "Archive in Ireland")
		b.fill("Bucket", bucket)
		b.fill("Prefix", "audit-logs")
		b.fill("Region", d.Region)
		b.fill("ARN of your role", d.RoleARN)
	}
	return []shownPage{
		{name: "create", path: "/drains/new", then: func(b *browser) {
			form(b, "acme-audit-ireland")
			b.submit("button", "Bring what follows up to date")
		}},
		{name: "create-tested", path: "/drains/new", then: func(b *browser) {
			form(b, "acme-audit-archive")
			b.submit("button", "Test")
			b.see("The test passed.")
		}},
		{name: "create-problems", path: "/drains/new", then: func(b *browser) {
			b.watch.allow(400)
			form(b, "Acme Audit")
			b.submit("button", "Create the drain")
		}},
		{name: "test-failed", path: "/drains/" + w.troubled.ID, then: func(b *browser) {
			b.submit("button", "Test")
			b.see("The test failed.")
		}},
		{name: "edit", path: "/drains/" + w.works.ID + "/edit"},
		{name: "replay", path: "/drains/" + w.works.ID + "/replay"},
		{name: "resume-from-now", path: "/drains/" + w.paused.ID + "/resume-from-now"},
		{name: "delete", path: "/drains/" + w.troubled.ID + "/delete"},
	}
}

// operatorPages are what operators see of all teams.
func (w showcase) operatorPages() []shownPage {
	return []shownPage{
		{name: "operator-drains", path: "/drains"},
		{name: "operator-activity", path: "/activity"},
		{name: "operator-settings", path: "/settings?team=" + w.acme.id},
		{name: "give-up-event", path: "/drains/" + w.troubled.ID + "/skip"},
		{name: "pick-team", path: "/drains/new"},
		{name: "not-found", path: "/drains/nothing"},
		{path: "/drains?team=" + w.empty.id},
		{path: "/drains/new?team=" + w.acme.id},
		{path: "/drains/" + w.works.ID},
		{path: "/settings"},
	}
}

// visit goes to the page.
func (p shownPage) visit(b *browser) {
	b.t.Helper()
	if p.name == "not-found" {
		b.watch.allow(404)
	}
	b.open(p.path)
	if p.then != nil {
		p.then(b)
	}
}
