package storetest

import (
	"bytes"
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/auditdrain/auditdrain"
)

// model is what a store must contain. It knows a little less than what was
// done: see the ranges in modelLog and modelDrain, which a crash may choose
// from.
type model struct {
	teams  map[string]auditdrain.Team
	tokens map[string]auditdrain.Token
	links  map[string]modelLink
	drains map[string]*modelDrain
	chains map[string]auditdrain.ChainRecord // also of deleted drains
	logs   map[string]*modelLog

	signingKeys []auditdrain.SigningKey // in the order they were added
	activities  []auditdrain.Activity   // by number
}

type modelLog struct {
	events []auditdrain.StoredEvent // all that were ever accepted, removed or not
	// first is the first that is left, if any, or one of those from first to
	// most while that is not known; a crash may bring earlier ones back.
	first, most uint64
	looks       []look
}

// modelLink is a portal link, which is there until it is taken.
type modelLink struct {
	auditdrain.PortalLink
	taken bool
}

func newModel() *model {
	return &model{
		teams:  map[string]auditdrain.Team{},
		tokens: map[string]auditdrain.Token{},
		links:  map[string]modelLink{},
		drains: map[string]*modelDrain{},
		chains: map[string]auditdrain.ChainRecord{},
		logs:   map[string]*modelLog{},
	}
}

func (m *model) log(team string) *modelLog {
	l := m.logs[team]
	if l == nil {
		l = &modelLog{first: 1, most: 1}
		m.logs[team] = l
	}
	return l
}

func (l *modelLog) last() uint64                         { return uint64(len(l.events)) }
func (l *modelLog) stored() []auditdrain.StoredEvent     { return l.events[l.first-1:] }
func (l *modelLog) at(seq uint64) auditdrain.StoredEvent { return l.events[seq-1] }

func (l *modelLog) bytes() uint64 {
	if n := l.last(); n > 0 {
		return l.at(n).TotalBytes
	}
	return 0
}

func (l *modelLog) find(id string) (auditdrain.StoredEvent, bool) {
	for _, e := range l.stored() {
		if e.ID == id {
			return e, true
		}
	}
	return auditdrain.StoredEvent{}, false
}

// append returns what Append must answer, and changes m accordingly.
func (m *model) append(batches []auditdrain.Batch, now time.Time) []auditdrain.BatchResult {
	results := make([]auditdrain.BatchResult, len(batches))
	accepted := map[string]time.Time{} // by team: all events of a call have the same time
	for i, b := range batches {
		l := m.log(b.TeamID)
		if _, ok := accepted[b.TeamID]; !ok {
			accepted[b.TeamID] = now.Truncate(time.Microsecond)
			if n := l.last(); n > 0 && l.at(n).AcceptedAt.After(now) {
				accepted[b.TeamID] = l.at(n).AcceptedAt
			}
		}
		before, r := l.last(), &results[i]
		for _, e := range b.Events {
			switch known, ok := l.find(e.ID); {
			case !ok:
				l.events = append(l.events, auditdrain.StoredEvent{
					Event: e, Seq: l.last() + 1, AcceptedAt: accepted[b.TeamID], TotalBytes: l.bytes() + uint64(len(e.Body)),
				})
				r.Accepted++
			case bytes.Equal(known.Body, e.Body):
				r.Duplicates++
			default:
				r.Conflicts = append(r.Conflicts, e.ID)
			}
		}
		if len(r.Conflicts) > 0 {
			l.events = l.events[:before]
			*r = auditdrain.BatchResult{Conflicts: r.Conflicts}
		}
	}
	return results
}

// start returns the cursor that a drain begins with.
func (m *model) start(team string, from int64) uint64 {
	l := m.log(team)
	if from == 0 {
		return l.last()
	}
	return l.before(from, l.last())
}

// before returns the number of the last event, of those up to last, that was
// accepted before a time or has been removed.
func (l *modelLog) before(ms int64, last uint64) uint64 {
	for _, e := range l.stored() {
		if e.Seq <= last && e.AcceptedAt.UnixMicro() >= ms*1000 {
			return e.Seq - 1
		}
	}
	return last
}

func (m *model) teamDrains(team string) []*modelDrain {
	var ds []*modelDrain
	for _, d := range m.drains {
		if d.TeamID == team {
			ds = append(ds, d)
		}
	}
	return ds
}

// record notes what was done together with it.
func (m *model) record(act *auditdrain.Activity) {
	a := *act
	a.Number = uint64(len(m.activities)) + 1
	m.activities = append(m.activities, a)
}

// clone is deep enough that changes by operations do not show in the original.
func (m *model) clone() *model {
	c := newModel()
	c.teams, c.tokens = maps.Clone(m.teams), maps.Clone(m.tokens)
	c.links, c.chains = maps.Clone(m.links), maps.Clone(m.chains)
	c.signingKeys = slices.Clone(m.signingKeys)
	c.activities = slices.Clone(m.activities)
	for id, d := range m.drains {
		copied := *d
		copied.saved, copied.skips = slices.Clone(d.saved), slices.Clone(d.skips)
		c.drains[id] = &copied
	}
	for team, l := range m.logs {
		c.logs[team] = &modelLog{events: slices.Clone(l.events), first: l.first, most: l.most, looks: slices.Clone(l.looks)}
	}
	return c
}

// pick returns a random key of m, always the same for the same rng.
func pick[K cmp.Ordered, V any](rng *rand.Rand, m map[K]V) K {
	keys := slices.Sorted(maps.Keys(m))
	return keys[rng.IntN(len(keys))]
}
