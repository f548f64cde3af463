// Package storetest is the one suite that every storage engine passes: what
// its methods do (Run), what becomes of the data when a write fails or the
// process is killed (RunFaults), and long random histories, compared with a
// model: with crashes in between (RunHistories), and with a move from one engine
// to another (RunMoves).
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/leaktest"
)

// Store is all that the suite tests. The code that uses a store declares the
// few methods that it needs.
type Store interface {
	Events
	Catalog
	Sessions
	Activities
	SigningKeys
	Drains
	Delivery
	Instructions
	Seals
	Series
	Notices
	Check(ctx context.Context) error
	Close() error
}

// Events is what is tested of the event log.
type Events interface {
	Append(ctx context.Context, batches []auditdrain.Batch) ([]auditdrain.BatchResult, error)
	Read(ctx context.Context, teamID string, after uint64, maxEvents, maxBytes int) ([]auditdrain.StoredEvent, error)
	Last(ctx context.Context, teamID string) (seq, totalBytes uint64, err error)
	Retain(ctx context.Context, keep time.Duration) (removed int, err error)
}

// Catalog is what is tested of teams and tokens.
type Catalog interface {
	CreateTeam(ctx context.Context, t auditdrain.Team, act *auditdrain.Activity) error
	Team(ctx context.Context, idOrSlug string) (auditdrain.Team, error)
	Teams(ctx context.Context) ([]auditdrain.Team, error)
	UpdateTeam(ctx context.Context, id string, update func(*auditdrain.Team) error, act *auditdrain.Activity) (auditdrain.Team, error)
	CreateToken(ctx context.Context, t auditdrain.Token, act *auditdrain.Activity) error
	TokenByHash(ctx context.Context, h auditdrain.TokenHash) (auditdrain.Token, error)
	Tokens(ctx context.Context, teamID string) ([]auditdrain.Token, error)
	DeleteToken(ctx context.Context, teamID, id string, act *auditdrain.Activity) error
}

// Activities is what is tested of the record of who did what.
type Activities interface {
	Record(ctx context.Context, act *auditdrain.Activity) error
	Recorded() <-chan struct{}
	Activities(ctx context.Context, q auditdrain.ActivityQuery) ([]auditdrain.Activity, error)
	ActivitiesAfter(ctx context.Context, after uint64, limit int) ([]auditdrain.Activity, error)
	Forwarded(ctx context.Context) (uint64, error)
	SaveForwarded(ctx context.Context, number uint64) error
}

// SigningKeys is what is tested of the keys that manifests are signed with.
type SigningKeys interface {
	SigningKeys(ctx context.Context) ([]auditdrain.SigningKey, error)
	AddSigningKey(ctx context.Context, key auditdrain.SigningKey, after string, act *auditdrain.Activity) error
}

// Sessions is what is tested of sessions and portal links.
type Sessions interface {
	CreateSession(ctx context.Context, s auditdrain.Session, act *auditdrain.Activity) error
	Session(ctx context.Context, h auditdrain.TokenHash) (auditdrain.Session, error)
	DeleteSession(ctx context.Context, h auditdrain.TokenHash, act *auditdrain.Activity) error
	CreatePortalLink(ctx context.Context, l auditdrain.PortalLink, act *auditdrain.Activity) error
	PortalLink(ctx context.Context, h auditdrain.TokenHash) (auditdrain.PortalLink, error)
	TakePortalLink(ctx context.Context, h auditdrain.TokenHash, act *auditdrain.Activity) (auditdrain.PortalLink, error)
	DeleteExpired(ctx context.Context, now time.Time) error
}

// Drains is what is tested of drains.
type Drains interface {
	CreateDrain(ctx context.Context, d auditdrain.Drain, startFrom int64, act *auditdrain.Activity) error
	Drains(ctx context.Context, query auditdrain.DrainQuery) ([]auditdrain.Drain, error)
	FindDrains(ctx context.Context, search auditdrain.DrainSearch) (found []auditdrain.Drain, matches int, counts auditdrain.DrainCounts, err error)
	UpdateDrain(ctx context.Context, teamID, id string, update func(*auditdrain.Drain) error, act *auditdrain.Activity) (auditdrain.Drain, error)
	DeleteDrain(ctx context.Context, teamID, id string, act *auditdrain.Activity) error
}

// Delivery is what is tested of what delivery keeps.
type Delivery interface {
	DeliveryState(ctx context.Context, drainID string) (auditdrain.DeliveryState, error)
	SaveProgress(ctx context.Context, progress []auditdrain.Progress) (gone []string, err error)
	Attempts(ctx context.Context, drainID string) ([]auditdrain.Attempt, error)
}

// Instructions is what is tested of what people tell delivery to do.
type Instructions interface {
	Instructions(ctx context.Context, drainID string) (auditdrain.Instructions, error)
	SkipEvent(ctx context.Context, drainID string, skip auditdrain.Skip, act *auditdrain.Activity) (auditdrain.Skip, error)
	SkipBacklog(ctx context.Context, drainID string, skip auditdrain.Skip, act *auditdrain.Activity) (auditdrain.Skip, error)
	Skips(ctx context.Context, drainID string) ([]auditdrain.Skip, error)
	StartReplay(ctx context.Context, drainID string, order auditdrain.ReplayOrder, act *auditdrain.Activity) (auditdrain.ReplayOrder, error)
	CancelReplay(ctx context.Context, drainID string, act *auditdrain.Activity) (auditdrain.ReplayOrder, error)
}

// Seals is what is tested of the accounts that manifests are made from.
type Seals interface {
	Seal(ctx context.Context, drainID string, req auditdrain.SealRequest) (auditdrain.Chain, error)
	Seals(ctx context.Context, drainID string) ([]auditdrain.Seal, error)
	Chain(ctx context.Context, drainID string) (auditdrain.Chain, error)
	Chains(ctx context.Context) ([]auditdrain.Chain, error)
	SealWritten(ctx context.Context, drainID string, number uint64, head string, at int64) error
	SealFailed(ctx context.Context, drainID, message string, at int64) error
	SealAnchored(ctx context.Context, drainID string, number uint64) error
}

// Series is what is tested of what drains did over time.
type Series interface {
	AddTallies(ctx context.Context, at time.Time, tallies []auditdrain.Tally) error
	Series(ctx context.Context, drainID string, span auditdrain.Span, now time.Time) (auditdrain.Series, error)
	Backlogs(ctx context.Context) (map[string]uint64, error)
}

// Notices is what is tested of what the operator was told.
type Notices interface {
	Notified(ctx context.Context) (map[string]auditdrain.Notified, error)
	SaveNotified(ctx context.Context, drainID string, n auditdrain.Notified) error
}

// Place is where one store keeps its data.
type Place interface {
	// Open opens the store, with what was stored before. One store at most
	// is open at a time.
	Open(now func() time.Time) (Store, error)
}

// Run tests what the methods of a store do. newPlace returns an empty place,
// which is cleaned up when the test ends.
func Run(t *testing.T, newPlace func(t *testing.T) Place) {
	for _, c := range []struct {
		name string
		test func(*fixture)
	}{
		{"append and read", testAppendRead},
		{"read limits", testReadLimits},
		{"duplicates", testDuplicates},
		{"conflicts", testConflicts},
		{"conflicts in one call", testConflictsInOneCall},
		{"many conflicts", testManyConflicts},
		{"teams are apart", testTeamsApart},
		{"bytes are kept", testBytes},
		{"time of acceptance", testAcceptedAt},
		{"concurrent appends", testConcurrentAppends},
		{"concurrent resends", testConcurrentResends},
		{"cancelled context", testCancelled},
		{"teams", testTeams},
		{"update team", testUpdateTeam},
		{"tokens", testTokens},
		{"sessions", testSessions},
		{"portal links", testPortalLinks},
		{"expired sessions and links", testDeleteExpired},
		{"activities", testActivities},
		{"activities of every change", testEveryChange},
		{"no change, no activity", testNoActivity},
		{"activities at once", testActivitiesAtOnce},
		{"forwarded activities", testForwarded},
		{"signing keys", testSigningKeys},
		{"signing keys at once", testSigningKeysAtOnce},
		{"drains", testDrains},
		{"drain limit", testDrainLimit},
		{"update drain", testUpdateDrain},
		{"start of a drain", testStartFrom},
		{"find drains", testFindDrains},
		{"delivery state", testDeliveryState},
		{"cursor", testCursor},
		{"attempts", testAttempts},
		{"hidden IP addresses", testHiddenIPAddresses},
		{"skip an event", testSkipEvent},
		{"skip a backlog", testSkipBacklog},
		{"replay", testReplay},
		{"seal", testSeal},
		{"written seals", testSealWritten},
		{"what seals say", testSealFacts},
		{"seal of a deleted drain", testSealDeleted},
		{"seals at once", testSealsConcurrent},
		{"series", testSeries},
		{"series in rings", testSeriesRings},
		{"series of a drain that goes", testSeriesGone},
		{"backlogs", testBacklogs},
		{"notified", testNotified},
		{"retain for a time", testRetainTime},
		{"retain what drains need", testRetainCursors},
		{"retain what replays need", testRetainReplay},
		{"retain what manifests need", testRetainSeals},
		{"IDs of removed events", testRemovedIDs},
		{"retain while appending", testRetainConcurrent},
		{"check and close", testClose},
	} {
		t.Run(c.name, func(t *testing.T) {
			leaktest.Check(t)
			f := &fixture{T: t, place: newPlace(t), ctx: t.Context(), time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
			f.open()
			c.test(f)
			if f.Store != nil {
				f.close()
			}
		})
	}
}

// fixture is one open store with a clock that stands still until it is moved.
type fixture struct {
	*testing.T
	Store
	place Place
	ctx   context.Context
	time  time.Time
}

func (f *fixture) open() {
	f.Helper()
	s, err := f.place.Open(func() time.Time { return f.time })
	if err != nil {
		f.Fatal(err)
	}
	f.Store = s
}

func (f *fixture) close() {
	f.Helper()
	if err := f.Store.Close(); err != nil {
		f.Errorf("Close: %v", err)
	}
	f.Store = nil
}

// reopen must not change anything that can be seen.
func (f *fixture) reopen() {
	f.Helper()
	f.close()
	f.open()
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) wantCode(err error, code auditdrain.Code) {
	f.Helper()
	if got := auditdrain.ErrorCode(err); got != code {
		f.Errorf("got error %v (code %q), want code %q", err, got, code)
	}
}
