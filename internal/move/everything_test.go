package move_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
	"github.com/auditdrain/auditdrain/internal/pgstore"
)

// store is what both engines have for what random histories do not contain.
type store interface {
	FindDrains(ctx context.Context, search auditdrain.DrainSearch) ([]auditdrain.Drain, int, auditdrain.DrainCounts, error)
	Series(ctx context.Context, drainID string, span auditdrain.Span, now time.Time) (auditdrain.Series, error)
	Backlogs(ctx context.Context) (map[string]uint64, error)
	Notified(ctx context.Context) (map[string]auditdrain.Notified, error)
	SigningKeys(ctx context.Context) ([]auditdrain.SigningKey, error)
	Forwarded(ctx context.Context) (uint64, error)
	Tokens(ctx context.Context, teamID string) ([]auditdrain.Token, error)
	TokenByHash(ctx context.Context, h auditdrain.TokenHash) (auditdrain.Token, error)
	Team(ctx context.Context, idOrSlug string) (auditdrain.Team, error)
	Activities(ctx context.Context, q auditdrain.ActivityQuery) ([]auditdrain.Activity, error)
	Instructions(ctx context.Context, drainID string) (auditdrain.Instructions, error)
	Chains(ctx context.Context) ([]auditdrain.Chain, error)
	Seals(ctx context.Context, drainID string) ([]auditdrain.Seal, error)
}

// TestEverything moves what random histories do not contain, as a process has
// left it that was killed.
func TestEverything(t *testing.T) {
	ctx, now := t.Context(), time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
	dir := t.TempDir()
	s, err := pebblestore.Open(dir, pebblestore.Options{Logger: discard(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	act := func(team string) *auditdrain.Activity {
		return &auditdrain.Activity{ID: "act", At: now.UnixMilli(), Action: "whatever", TeamID: team}
	}
	must(s.CreateTeam(ctx, auditdrain.Team{ID: "team_acme", Slug: "acme", Name: "Acmé", HideIPAddresses: true}, act("team_acme")))
	must(s.CreateTeam(ctx, auditdrain.Team{ID: "same", Slug: "same"}, act("same")))
	for _, token := range []auditdrain.Token{
		{ID: "tok_1", TeamID: "team_acme", Role: auditdrain.RoleOwner, Hash: auditdrain.HashToken("1"), CreatedAt: 2},
		{ID: "tok_2", Role: auditdrain.RoleOperator, Hash: auditdrain.HashToken("2"), CreatedAt: 1, ExpiresAt: 3},
	} {
		must(s.CreateToken(ctx, token, act(token.TeamID)))
	}
	must(s.AddSigningKey(ctx, auditdrain.SigningKey{ID: "two", Public: []byte{2}, CreatedAt: 1, ActiveFrom: 2, Encrypted: []byte{3}}, "", nil))
	must(s.AddSigningKey(ctx, auditdrain.SigningKey{ID: "one", Public: []byte{1}, KMSKeyARN: "arn"}, "two", nil))
	must(s.SaveForwarded(ctx, 3))
	appendEvents(t, s, "team_acme", 0, 20)
	for _, id := range []string{"drn_1", "drn_2", "drn_3"} {
		d := auditdrain.Drain{ID: id, TeamID: "team_acme", Name: "Größe " + id, Status: auditdrain.StatusEnabled}
		if id == "drn_3" {
			d.Status = auditdrain.StatusDisabled
		}
		must(s.CreateDrain(ctx, d, 1, act("team_acme")))
	}
	_, err = s.SaveProgress(ctx, []auditdrain.Progress{
		{State: auditdrain.DeliveryState{DrainID: "drn_1", Cursor: 15}},
		{State: auditdrain.DeliveryState{DrainID: "drn_2", Cursor: 10, FirstErrorAt: 7, LastError: "refused"},
			Attempts: []auditdrain.Attempt{{Number: 1001, At: 7, Outcome: auditdrain.OutcomeFailed, Error: "refused"}, {Number: 1, At: 8, Outcome: auditdrain.OutcomeExisted}}},
	})
	must(err)
	_, err = s.StartReplay(ctx, "drn_1", auditdrain.ReplayOrder{ID: "rpl_1", From: 1, To: now.UnixMilli() + 1}, nil)
	must(err)
	latency := &auditdrain.LatencyHistogram{}
	latency.Add(17 * time.Millisecond)
	must(s.AddTallies(ctx, now.Add(-time.Hour), []auditdrain.Tally{{DrainID: "drn_1", Delivered: 9, Backlog: 2}}))
	must(s.AddTallies(ctx, now, []auditdrain.Tally{{DrainID: "drn_1", Delivered: 3, Failed: 1, Latency: latency}}))
	must(s.SaveNotified(ctx, "drn_2", auditdrain.Notified{Errored: auditdrain.NoticeMark{Since: 7, Phase: auditdrain.NoticeTold}}))

	// Manifests that are to be written, also of a deleted drain.
	must(s.CreateDrain(ctx, auditdrain.Drain{ID: "drn_4", TeamID: "team_acme"}, 1, nil))
	for _, id := range []string{"drn_1", "drn_4"} {
		sealChain(t, s, id, now)
	}
	must(s.SealWritten(ctx, "drn_1", 1, "head", now.UnixMilli()))
	must(s.DeleteDrain(ctx, "", "drn_4", act("team_acme")))

	killed := t.TempDir()
	must(os.CopyFS(filepath.Join(killed, "data"), os.DirFS(dir)))
	to := newDatabase(t)
	_, err = run(ctx, filepath.Join(killed, "data"), to.url, silent)
	must(err)
	moved, err := pgstore.Open(ctx, to.url, pgstore.Options{Logger: discard(), Now: func() time.Time { return now }})
	must(err)
	want, got := seen(t, s, now), seen(t, moved, now)
	if len(want) < 10 {
		t.Errorf("only %d things were compared", len(want))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("moved (-want +got):\n%s", d)
	}
	// Both go on with the same numbers.
	for _, s := range []interface {
		appender
		Record(ctx context.Context, act *auditdrain.Activity) error
	}{s, moved} {
		appendEvents(t, s, "team_acme", 19, 25)
		must(s.Record(ctx, act("same")))
	}
	if d := cmp.Diff(seen(t, s, now), seen(t, moved, now)); d != "" {
		t.Errorf("after more (-want +got):\n%s", d)
	}
	must(s.Close())
	must(moved.Close())
}

// seen is all that a store answers.
func seen(t *testing.T, s store, now time.Time) map[string]any {
	t.Helper()
	all := map[string]any{}
	see := func(what string, v any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		all[what] = v
	}
	ctx := t.Context()
	for _, text := range []string{"", "größe", "acmé", "drn_2"} {
		found, matches, counts, err := s.FindDrains(ctx, auditdrain.DrainSearch{Text: text, Limit: 10})
		see("found "+text, []any{found, matches, counts}, err)
	}
	for _, span := range auditdrain.Spans {
		series, err := s.Series(ctx, "drn_1", span, now)
		see("series "+string(span), series, err)
	}
	backlogs, err := s.Backlogs(ctx)
	see("backlogs", backlogs, err)
	notified, err := s.Notified(ctx)
	see("notified", notified, err)
	keys, err := s.SigningKeys(ctx)
	see("signing keys", keys, err)
	forwarded, err := s.Forwarded(ctx)
	see("forwarded", forwarded, err)
	tokens, err := s.Tokens(ctx, "")
	see("tokens", tokens, err)
	for _, secret := range []string{"1", "2"} {
		token, err := s.TokenByHash(ctx, auditdrain.HashToken(secret))
		see("token "+secret, token, err)
	}
	for _, name := range []string{"team_acme", "acme", "same"} {
		team, err := s.Team(ctx, name)
		see("team "+name, team, err)
	}
	for _, team := range []string{"", "same"} {
		activities, err := s.Activities(ctx, auditdrain.ActivityQuery{TeamID: team, Limit: 100})
		see("activities "+team, activities, err)
	}
	for _, drain := range []string{"drn_1", "drn_2"} {
		in, err := s.Instructions(ctx, drain)
		see("instructions "+drain, in, err)
	}
	chains, err := s.Chains(ctx)
	see("chains", chains, err)
	for _, c := range chains {
		seals, err := s.Seals(ctx, c.DrainID)
		see("seals "+c.DrainID, seals, err)
	}
	return all
}
