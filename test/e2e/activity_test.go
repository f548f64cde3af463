package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
	"github.com/auditdrain/auditdrain/internal/activity"
)

// TestActivity drains what is done to auditdrain itself, and kills the service
// again and again while much is done. Whatever took place is recorded, once,
// nothing else is, and what is recorded is in the bucket.
func TestActivity(t *testing.T) {
	rng := newRand(newSeed(t), 1)
	aws := newCloud(t)
	place := newTeams()[1].targets[0]
	aws.addTargets("vercel-team:"+auditdrain.SystemTeam, place)
	data := t.TempDir()
	s := serve(t, aws.url, data)
	early, err := s.api.CreateTeam(t.Context(), auditdrain.TeamInput{Slug: "early", Name: "before there is a drain"})
	if err != nil {
		t.Fatal(err)
	}
	drain, err := s.api.CreateDrain(t.Context(), auditdrain.SystemTeam, auditdrain.DrainInput{
		Name: "what we do", Schemas: auditdrain.AuditLogSchemas(), Delivery: place.delivery(), StartFrom: early.CreatedAt,
	})
	if err != nil {
		t.Fatal(err)
	}

	o := operators{renamed: map[string]string{}}
	o.created = append(o.created, early.ID)
	for range 6 {
		o.work(t, s, 5+rng.IntN(40))
		s = serve(t, aws.url, data)
	}
	s.operate("token", "create", "--role", "viewer", "--team", "early", "--name", "by hand")

	activities := allActivities(t, s.api)
	aws.awaitObjects(len(activities))
	checkRecorded(t, s.api, &o, activities)

	objects, err := aws.Objects(place.bucket)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, object := range objects {
		body, err := object.Read()
		if err != nil {
			t.Fatal(err)
		}
		got[object.Key] = string(body)
	}
	want := map[string]string{}
	for _, a := range activities {
		e, err := activity.Event(auditdrain.DefaultNamespace, a)
		if err != nil {
			t.Fatal(err)
		}
		want[drain.Delivery.ObjectKey(e, false)] = string(e.Body) + "\n"
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the bucket (-activities +objects):\n%s", d)
	}
	last := activities[len(activities)-1]
	if last.Action != auditdrain.ActionTokenCreated || last.TargetName != "by hand" || !strings.HasPrefix(last.UserAgent, "auditdrain") || last.IPAddress != "127.0.0.1" {
		t.Errorf("what the command line did is recorded as %+v", last)
	}
	s.stop()
}

// operators are people who change things, and what was confirmed to them.
type operators struct {
	mu      sync.Mutex
	created []string          // IDs of teams
	renamed map[string]string // the team's new name by ID
	made    int               // to make names unique
}

// work has four operators create and rename teams, until so many changes have
// been confirmed and the service is killed.
func (o *operators) work(t *testing.T, s *service, most int) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	enough := make(chan struct{})
	var confirmed atomic.Int32
	var working sync.WaitGroup
	for range 4 {
		working.Go(func() {
			for ctx.Err() == nil && o.change(ctx, s.api) == nil {
				if confirmed.Add(1) == int32(most) {
					close(enough)
				}
			}
		})
	}
	select {
	case <-enough:
	case <-s.done:
		t.Error("the service has ended by itself")
	}
	s.kill()
	cancel()
	working.Wait()
}

func (o *operators) change(ctx context.Context, api *client.Client) error {
	o.mu.Lock()
	o.made++
	slug := fmt.Sprint("team-", o.made)
	o.mu.Unlock()
	team, err := api.CreateTeam(ctx, auditdrain.TeamInput{Slug: slug, Name: slug})
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.created = append(o.created, team.ID)
	o.mu.Unlock()
	name := "new " + slug
	if _, err := api.UpdateTeam(ctx, team.ID, auditdrain.TeamPatch{Name: &name}); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.renamed[team.ID] = name
	return nil
}

// allActivities returns all that is recorded, a page at a time, by number.
func allActivities(t *testing.T, api *client.Client) (all []auditdrain.Activity) {
	t.Helper()
	for before := uint64(0); ; {
		page, err := api.ListActivity(t.Context(), auditdrain.ActivityQuery{Limit: 50, Before: before})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Activities...)
		if before = page.Next; before == 0 {
			slices.Reverse(all)
			return all
		}
	}
}

// checkRecorded compares what is recorded with what the service has become,
// and that with what was confirmed.
func checkRecorded(t *testing.T, api *client.Client, o *operators, activities []auditdrain.Activity) {
	t.Helper()
	created, renamed := map[string]string{}, map[string]string{} // name by ID
	for i, a := range activities {
		if a.Number != uint64(i+1) {
			t.Fatalf("activity %d has number %d", i+1, a.Number)
		}
		switch a.Action {
		case auditdrain.ActionTeamCreated:
			if created[a.TargetID] != "" {
				t.Errorf("recorded twice: %+v", a)
			}
			created[a.TargetID] = a.TargetName
		case auditdrain.ActionTeamUpdated:
			if renamed[a.TargetID] != "" {
				t.Errorf("recorded twice: %+v", a)
			}
			renamed[a.TargetID] = a.TargetName
		}
	}
	for _, id := range o.created {
		if created[id] == "" {
			t.Errorf("team %s was confirmed and is not recorded", id)
		}
	}
	for id, name := range o.renamed {
		if renamed[id] != name {
			t.Errorf("that team %s is %q was confirmed, recorded is %q", id, name, renamed[id])
		}
	}
	teams, err := api.ListTeams(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	is := map[string]string{}
	for _, team := range teams {
		if team.ID != auditdrain.SystemTeam {
			is[team.ID] = team.Name
		}
	}
	for id, name := range renamed {
		created[id] = name
	}
	if d := cmp.Diff(created, is); d != "" {
		t.Errorf("teams (-recorded +there):\n%s", d)
	}
}
